//! The first packet of a process. Alone in its program: another capture on this machine would switch the kernel's stamps
//! on for all.
#![cfg(target_os = "linux")]

mod common;

use common::{Running, cases, path, program, start};
use traceroute_testnet::kernel::Chain;

/// The kernel switches stamps on by a deferred job, and off when the last process that wants them has ended. Two
/// processes at once, again and again, so that the job has to wait for a processor now and then.
#[test]
fn the_very_first_probe_has_the_kernels_stamps() {
    let chain = Chain::builder().routers(0).build().unwrap();
    for (method, target) in std::iter::repeat_n(cases(&chain), 10).flatten() {
        // The sounding is the first hop's probe.
        let arguments = ["-P", method, "-q1", "-Q0", "-m1", &target.to_string()];
        let both = [(); 2].map(|()| start(&mut program(chain.client(), &arguments)));
        for outcome in both.map(Running::wait) {
            outcome.report().assert_reached(1, &path(&chain, target));
        }
        // As long as their captures are not closed, stamps stay switched on.
        chain.client().await_no_packet_sockets().unwrap();
    }
}
