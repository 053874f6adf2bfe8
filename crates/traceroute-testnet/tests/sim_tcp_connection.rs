//! The TCP of the simulated network's target, segment by segment: established connections.

mod common;

use common::MS;
use common::talk::{S, Talk};
use common::tcp::{ack, rst, segment, syn};
use traceroute_testnet::sim::{Closing, SackUse, TcpApplication};

#[test]
fn data_in_order_is_delivered_and_acknowledged() {
    let application = TcpApplication::default();
    let mut talk = Talk::with(|l| l.application = application.clone());
    let a = talk.connect_with_sack();
    assert_eq!(talk.say(&ack(S + 1, a).data(b"GET /")), ["ack seq=+1 ack=+6"]);
    assert_eq!(talk.say(&ack(S + 6, a).data(b"\r\n")), ["ack seq=+1 ack=+8"]);
    assert_eq!((application.accepted(), application.received()), (1, 7));
    assert_eq!(talk.say(&ack(S + 8, a)), [""; 0], "a pure acknowledgement is not acknowledged");
}

#[test]
fn data_out_of_order_is_named_by_sack_blocks() {
    let application = TcpApplication::default();
    let mut talk = Talk::with(|l| l.application = application.clone());
    let a = talk.connect_with_sack();
    let mut probe = |i: u32| talk.say(&ack(S + 1 + i, a).data(b"x"));
    // The latest first, and at most four.
    assert_eq!(probe(3), ["ack seq=+1 ack=+1 sack=+4..+5"]);
    assert_eq!(probe(5), ["ack seq=+1 ack=+1 sack=+6..+7,+4..+5"]);
    assert_eq!(probe(7), ["ack seq=+1 ack=+1 sack=+8..+9,+6..+7,+4..+5"]);
    assert_eq!(probe(1), ["ack seq=+1 ack=+1 sack=+2..+3,+8..+9,+6..+7,+4..+5"]);
    assert_eq!(probe(9), ["ack seq=+1 ack=+1 sack=+10..+11,+2..+3,+8..+9,+6..+7"]);
    // What joins blocks makes one of them.
    assert_eq!(probe(8), ["ack seq=+1 ack=+1 sack=+8..+11,+2..+3,+6..+7"]);
    // What has arrived before is told first.
    assert_eq!(probe(5), ["ack seq=+1 ack=+1 sack=+6..+7,+6..+7,+8..+11,+2..+3"]);
    assert_eq!(application.received(), 0);
    // The first byte delivers the second, and the third and fourth all up to the gap at the fifth.
    assert_eq!(probe(0), ["ack seq=+1 ack=+3 sack=+6..+7,+8..+11"]);
    assert_eq!(application.received(), 2);
    assert_eq!(probe(0), ["ack seq=+1 ack=+3 sack=+1..+2,+6..+7,+8..+11"]);
    assert_eq!(talk.say(&ack(S + 3, a).data(b"xyzzy")), ["ack seq=+1 ack=+11 sack=+4..+5"]);
    assert_eq!(application.received(), 10);
    assert_eq!(talk.say(&ack(S + 1 + 10 + 65_536, a).data(b"x")), ["ack seq=+1 ack=+11"], "no room");
}

#[test]
fn with_timestamps_there_is_room_for_three_blocks() {
    let mut talk = Talk::with(|_| ());
    let a = talk.connect(&syn(S).sack_permitted().stamps(70, 0));
    let mut last = Vec::new();
    for i in [3, 5, 7, 9] {
        last = talk.say(&ack(S + i, a).stamps(70 + i, 0).data(b"x"));
    }
    // What is out of order is not echoed.
    assert_eq!(last, ["ack seq=+1 ack=+1 echo=70 sack=+9..+10,+7..+8,+5..+6"]);
}

#[test]
fn where_sack_is_not_used_acknowledgements_have_no_blocks() {
    for sack in [SackUse::PermittedUnused, SackUse::NotPermitted] {
        let mut talk = Talk::with(|l| l.sack = sack);
        let a = talk.connect_with_sack();
        assert_eq!(talk.say(&ack(S + 5, a).data(b"x")), ["ack seq=+1 ack=+1"]);
        assert_eq!(talk.say(&ack(S + 5, a).data(b"x")), ["ack seq=+1 ack=+1"]);
    }
    let mut talk = Talk::with(|_| ());
    let a = talk.connect(&syn(S));
    assert_eq!(talk.say(&ack(S + 5, a).data(b"x")), ["ack seq=+1 ack=+1"]);
}

#[test]
fn data_with_an_older_timestamp_is_dropped() {
    let application = TcpApplication::default();
    let mut talk = Talk::with(|l| l.application = application.clone());
    let first = 0xffff_ff00_u32;
    let a = talk.connect(&syn(S).sack_permitted().stamps(first, 0));
    let mut probe = |i: u32, stamp: u32| talk.say(&ack(S + 1 + i, a).stamps(stamp, 0).data(b"x"));
    assert_eq!(probe(3, first), [format!("ack seq=+1 ack=+1 echo={first} sack=+4..+5")]);
    // The plain duplicate of what was acknowledged last: nothing of the segment remains.
    assert_eq!(probe(5, first - 1), [format!("ack seq=+1 ack=+1 echo={first} sack=+4..+5")]);
    assert_eq!(probe(0, first - 1), [format!("ack seq=+1 ack=+1 echo={first} sack=+4..+5")]);
    // Newer, modulo 2³²; but what is out of order is not what is echoed, nor what is compared with.
    assert_eq!(probe(7, 7), [format!("ack seq=+1 ack=+1 echo={first} sack=+8..+9,+4..+5")]);
    assert_eq!(probe(5, first), [format!("ack seq=+1 ack=+1 echo={first} sack=+6..+7,+8..+9,+4..+5")]);
    assert_eq!(probe(0, 9), ["ack seq=+1 ack=+2 echo=9 sack=+6..+7,+8..+9,+4..+5"]);
    assert_eq!(probe(1, first), ["ack seq=+1 ack=+2 echo=9 sack=+6..+7,+8..+9,+4..+5"]);
    assert_eq!(application.received(), 1);
}

#[test]
fn syns_and_resets_in_a_connection_are_challenged() {
    let mut talk = Talk::with(|_| ());
    let a = talk.connect_with_sack();
    assert_eq!(talk.say(&syn(S)), ["ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&rst(S + 2)), [""; 0], "one each half second");
    talk.wait(500);
    assert_eq!(talk.say(&rst(S + 2)), ["ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&rst(S)), [""; 0]);
    talk.wait(500);
    assert_eq!(talk.say(&rst(S)), [""; 0], "outside of the window");
    assert_eq!(talk.say(&ack(S + 1, a).data(b"x")), ["ack seq=+1 ack=+2"], "all that has harmed nothing");
    assert_eq!(talk.say(&rst(S + 2)), [""; 0]);
    assert_eq!(talk.say(&ack(S + 2, a)), ["rst seq=+1"]);
}

#[test]
fn what_is_outside_of_the_window_is_answered_always_only_if_it_has_data() {
    let mut talk = Talk::with(|_| ());
    let a = talk.connect_with_sack();
    let keepalive = ack(S, a);
    assert_eq!(talk.say(&keepalive), ["ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&keepalive), [""; 0]);
    let data = ack(S + 70_000, a).data(b"x");
    assert_eq!(talk.say(&data), ["ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&data), ["ack seq=+1 ack=+1"]);
}

#[test]
fn a_reset_after_the_farthest_block_counts_too() {
    let mut talk = Talk::with(|_| ());
    let a = talk.connect_with_sack();
    talk.send(&ack(S + 9, a).data(b"x"));
    talk.send(&ack(S + 5, a).data(b"x"));
    assert_eq!(talk.say(&rst(S + 6)), ["ack seq=+1 ack=+1 sack=+5..+6,+9..+10"]);
    assert_eq!(talk.say(&rst(S + 10)), [""; 0]);
    assert_eq!(talk.say(&ack(S + 1, a)), ["rst seq=+1"]);
}

#[test]
fn what_acknowledges_the_impossible_is_dropped() {
    let application = TcpApplication::default();
    let mut talk = Talk::with(|l| l.application = application.clone());
    let a = talk.connect_with_sack();
    assert_eq!(talk.say(&ack(S + 1, a + 1).data(b"x")), [""; 0], "never sent");
    assert_eq!(talk.say(&ack(S + 1, a - 1).data(b"x")), ["ack seq=+1 ack=+1"], "acknowledged long ago");
    assert_eq!(talk.say(&segment(S + 1).data(b"x")), [""; 0], "nothing at all");
    assert_eq!(application.received(), 0);
}

#[test]
fn the_end_of_the_stream_drops_what_is_out_of_order() {
    let mut talk = Talk::with(|_| ());
    let a = talk.connect_with_sack();
    assert_eq!(talk.say(&ack(S + 5, a).data(b"x")), ["ack seq=+1 ack=+1 sack=+5..+6"]);
    assert_eq!(talk.say(&ack(S + 1, a).fin()), ["ack seq=+1 ack=+2"]);
    assert_eq!(talk.say(&ack(S + 5, a).data(b"x")), [""; 0]);
    assert_eq!(talk.say(&ack(S + 1, a).fin()), ["ack seq=+1 ack=+2 sack=+1..+2"]);
}

#[test]
fn an_application_can_speak_first() {
    let banner = b"220 ready\r\n".to_vec();
    let mut talk = Talk::with(|l| l.banner = Some((30 * MS, banner.clone())));
    talk.connect_with_sack();
    // The acknowledgement arrived at 3 ms.
    let seen = talk.wait(100);
    assert_eq!((seen.len(), seen[0].0), (1, 34));
    assert_eq!(seen[0].1.line(S, talk.peer), "psh-ack seq=+1 ack=+1 len=11");
    assert_eq!(seen[0].1.payload, banner);
    assert_eq!(talk.lines(10_000), [""; 0], "it is not repeated");
    let answer = talk.say(&ack(S + 5, talk.peer + 12).data(b"x"));
    assert_eq!(answer, ["ack seq=+12 ack=+1 sack=+5..+6"]);
}

#[test]
fn after_an_application_has_closed_new_data_is_reset() {
    let mut talk = Talk::with(|l| l.closes = Some((30 * MS, Closing::Fin)));
    let a = talk.connect_with_sack();
    assert_eq!(talk.lines(100), ["34 fin-ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&ack(S + 1, a + 1)), [""; 0]);
    assert_eq!(talk.say(&ack(S, a + 1).data(b"x")), ["ack seq=+2 ack=+1 sack=+0..+1"], "old data");
    assert_eq!(talk.say(&ack(S + 5, a + 1).data(b"x")), ["rst seq=+2"]);
    assert_eq!(talk.say(&ack(S + 9, a).data(b"x")), ["rst seq=+1"], "the connection is gone");

    let mut talk = Talk::with(|l| l.closes = Some((30 * MS, Closing::Fin)));
    let a = talk.connect_with_sack();
    talk.wait(100);
    assert_eq!(talk.say(&ack(S + 1, a + 1).fin()), ["ack seq=+2 ack=+2"]);
}

#[test]
fn an_application_can_reset() {
    let mut talk = Talk::with(|l| l.closes = Some((30 * MS, Closing::Reset)));
    let a = talk.connect_with_sack();
    assert_eq!(talk.lines(100), ["34 rst-ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&ack(S + 5, a).data(b"x")), ["rst seq=+1"]);
    // The port is open as before.
    assert_eq!(talk.say(&syn(S)), ["syn-ack seq=+0 ack=+1 mss=1460"]);
}
