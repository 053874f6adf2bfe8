//! The platforms.

/// A platform that is not the one we run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Windows,
    MacArm,
    MacIntel,
    LinuxArm,
    LinuxStatic,
}

impl Target {
    pub(super) const USUAL: &[Self] = &[Self::Windows, Self::MacArm];
    pub(super) const ALL: &[Self] =
        &[Self::Windows, Self::MacArm, Self::MacIntel, Self::LinuxArm, Self::LinuxStatic];

    /// Its name in cargo.
    pub(super) fn triple(self) -> &'static str {
        match self {
            Self::Windows => "x86_64-pc-windows-gnu",
            Self::MacArm => "aarch64-apple-darwin",
            Self::MacIntel => "x86_64-apple-darwin",
            Self::LinuxArm => "aarch64-unknown-linux-gnu",
            Self::LinuxStatic => "x86_64-unknown-linux-musl",
        }
    }

    /// The variables with which cargo and the build scripts that compile C find what they need.
    pub(super) fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Windows => {
                &[("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "timeout --kill-after=10 600 wine")]
            }
            // Lints need no objects, and Apple's headers are not to be had.
            Self::MacArm => &[("CC_aarch64_apple_darwin", "true"), ("AR_aarch64_apple_darwin", "true")],
            Self::MacIntel => &[("CC_x86_64_apple_darwin", "true"), ("AR_x86_64_apple_darwin", "true")],
            Self::LinuxArm => &[
                ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
                ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu"),
            ],
            // zig brings the parts of musl that rustc would bring.
            Self::LinuxStatic => {
                &[("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS", "-Clink-self-contained=no")]
            }
        }
    }

    /// The C compiler, a library of C and what runs the programs, as Debian packages.
    pub(super) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Windows => &["gcc-mingw-w64-x86-64-posix", "wine", "wine64"],
            Self::MacArm | Self::MacIntel => &[],
            Self::LinuxArm => &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"],
            Self::LinuxStatic => &["python3-venv"],
        }
    }

    /// Whether zig is its C compiler and linker.
    pub(super) fn is_built_by_zig(self) -> bool {
        self == Self::LinuxStatic
    }
}
