#!/bin/sh
# standard-library.sh WORK TARGET: builds Rust's standard library for TARGET from Debian's rust-web-src, in the directory WORK,
# and puts it beside the host's. The source fits Debian's compiler only, so nothing is done again while that is the same one.
set -eu
work=$1
target=$2

commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
rustlib=$(rustc --print sysroot)/lib/rustlib
library=$rustlib/$target/lib
if [ "$(cat "$library/.built-from" 2>/dev/null || true)" = "$commit" ]; then
  echo 'present'
  exit
fi

# A program of nothing: cargo builds the standard library only for something that uses it.
mkdir -p "$work/src"
: >"$work/src/lib.rs"
cat >"$work/Cargo.toml" <<'MANIFEST'
[package]
name = "nothing"
version = "0.0.0"
edition = "2024"

[profile.release]
debug = 0

[workspace]
MANIFEST

export RUSTC_BOOTSTRAP=1
(cd "$work" && CARGO_TARGET_DIR=$work/target cargo build --quiet --release --target "$target" \
  -Z build-std=std,panic_unwind,panic_abort,proc_macro,test)
rm -rf "$library"
mkdir -p "$library"
find "$work/target/$target/release/deps" -name '*.rlib' ! -name 'libnothing*' -exec cp {} "$library/" \;
# What every program of MinGW begins and ends with.
case $target in *-windows-gnu)
  for part in rsbegin rsend; do
    rustc --target "$target" --emit obj --crate-type rlib -o "$library/$part.o" \
      "$rustlib/src/rust/library/rtstartup/$part.rs"
  done ;;
esac
echo "$commit" >"$library/.built-from"
rm -rf "$work/target/$target"
