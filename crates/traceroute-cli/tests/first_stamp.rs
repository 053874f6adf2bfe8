//! The first packet of a process. Alone in its program: another capture on this machine would switch the kernel's stamps
//! on for all.
#![cfg(target_os = "linux")]

mod common;

use common::{cases, path, trace};
use traceroute_testnet::kernel::Chain;

#[test]
fn the_very_first_probe_has_the_kernels_stamps() {
    let chain = Chain::builder().routers(0).build().unwrap();
    for (method, target) in cases(&chain) {
        // The sounding is the first hop's probe.
        let report =
            trace(chain.client(), &["-P", method, "-q1", "-Q0", "-m1", &target.to_string()]).report();
        report.assert_reached(1, &path(&chain, target));
    }
}
