//! The TCP of the simulated network's target, segment by segment: handshakes.

mod common;

use std::time::Duration;

use common::talk::{S, Talk};
use common::tcp::{ack, rst, segment, syn};
use common::{MS, at};
use traceroute_testnet::sim::{
    Network, ResetNumber, SackUse, TcpApplication, TcpListener, TcpService, Topology,
};

#[test]
fn closed_ports_answer_by_the_book() {
    for family in 0..2 {
        let mut talk = Talk::over(TcpService::Closed, family);
        assert_eq!(talk.say(&syn(S)), ["rst-ack seq=0 ack=+1"]);
        // SYN and FIN count, and each byte.
        assert_eq!(talk.say(&syn(S).fin().data(b"abc")), ["rst-ack seq=0 ack=+5"]);
        assert_eq!(talk.say(&segment(S).data(b"abc")), ["rst-ack seq=0 ack=+3"]);
        assert_eq!(talk.say(&ack(S, 77)), ["rst seq=+77"]);
        assert_eq!(talk.say(&syn(S).with_ack(77)), ["rst seq=+77"]);
        assert_eq!(talk.say(&rst(S)), [""; 0]);
        assert_eq!(talk.say(&rst(S).with_ack(77)), [""; 0]);
    }
}

#[test]
fn some_closed_ports_answer_without_ack() {
    let mut talk = Talk::new(TcpService::ClosedWithoutAck(ResetNumber::Zero));
    assert_eq!(talk.say(&syn(S)), ["rst seq=0"]);
    let mut talk = Talk::new(TcpService::ClosedWithoutAck(ResetNumber::Mirrored));
    assert_eq!(talk.say(&syn(S)), [format!("rst seq=+{S}")]);
    assert_eq!(talk.say(&ack(S, 77)), ["rst seq=+77"]);
    assert_eq!(talk.say(&rst(S)), [""; 0]);
}

#[test]
fn silent_ports_say_nothing() {
    let mut talk = Talk::new(TcpService::Silent);
    for out in [syn(S), ack(S, 77), segment(S).data(b"x")] {
        assert_eq!(talk.say(&out), [""; 0]);
    }
}

#[test]
fn an_open_port_answers_syns_of_one_flow_by_turns() {
    for (family, mss) in [(0, 1460), (1, 1440)] {
        let mut talk = Talk::over(TcpService::Listening(TcpListener::default()), family);
        assert_eq!(talk.say(&syn(S)), [format!("syn-ack seq=+0 ack=+1 mss={mss}")]);
        assert_eq!(talk.say(&syn(S + 1)), ["rst-ack seq=0 ack=+2"]);
        assert_eq!(talk.say(&syn(S + 2)), [format!("syn-ack seq=+0 ack=+3 mss={mss}")]);
        assert_eq!(talk.say(&syn(S + 3)), ["rst-ack seq=0 ack=+4"]);
        assert_eq!(talk.say(&syn(S + 4)), [format!("syn-ack seq=+0 ack=+5 mss={mss}")]);
    }
}

#[test]
fn an_older_syn_is_challenged_twice_a_second() {
    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S));
    assert_eq!(talk.say(&syn(S - 5)), ["ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&syn(S - 5)), [""; 0]);
    // The first arrived at 3 ms, so that the 500 ms end at 503 ms.
    assert_eq!(talk.lines(501 - 6), [""; 0]);
    assert_eq!(talk.say(&syn(S - 9)), [""; 0]);
    assert_eq!(talk.say(&syn(S - 9)), ["ack seq=+1 ack=+1"]);
    // None of them has harmed the half-open connection.
    assert_eq!(talk.say(&syn(S + 1)), ["rst-ack seq=0 ack=+2"]);
}

#[test]
fn the_window_of_a_half_open_connection_has_65535_numbers() {
    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S));
    assert_eq!(talk.say(&syn(S + 1 + 65_535)), ["ack seq=+1 ack=+1"]);
    assert_eq!(talk.say(&syn(S + 65_535)), ["rst-ack seq=0 ack=+65536"]);
}

#[test]
fn the_same_syn_gets_the_same_syn_ack() {
    let mut talk = Talk::with(|_| ());
    let first = talk.send(&syn(S));
    assert_eq!(talk.send(&syn(S)), first);
    // Within half a second of the last repetition there is no other.
    assert_eq!(talk.send(&syn(S)), []);
    talk.wait(500);
    assert_eq!(talk.send(&syn(S)), first);
}

#[test]
fn a_reset_in_the_window_ends_a_half_open_connection() {
    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S));
    let number = talk.peer + 1;
    assert_eq!(talk.say(&rst(S)), [""; 0]);
    assert_eq!(talk.say(&rst(S + 1 + 65_535)), [""; 0]);
    assert_eq!(talk.say(&syn(S)).len(), 1, "these were outside of the window");
    assert_eq!(talk.say(&rst(S + 1)), [""; 0]);
    assert_eq!(talk.say(&ack(S + 1, number)), ["rst seq=+1"]);
    assert_eq!(talk.lines(20_000), [""; 0]);
}

#[test]
fn an_unanswered_syn_ack_is_repeated_and_given_up() {
    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S));
    let number = talk.peer + 1;
    // The SYN arrived at 1 ms.
    assert_eq!(
        talk.lines(14_990),
        [1_002, 3_002, 7_002].map(|at| format!("{at} syn-ack seq=+0 ack=+1 mss=1460"))
    );
    assert_eq!(talk.say(&syn(S + 1)), ["rst-ack seq=0 ack=+2"]);

    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S));
    talk.wait(15_000);
    assert_eq!(talk.say(&ack(S + 1, number)), ["rst seq=+1"]);
}

#[test]
fn only_the_half_open_connection_that_is_there_repeats() {
    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S));
    talk.wait(98);
    talk.send(&syn(S + 1));
    talk.wait(98);
    talk.send(&syn(S + 2));
    assert_eq!(
        talk.lines(9_000),
        [1_202, 3_202, 7_202].map(|at| format!("{at} syn-ack seq=+0 ack=+3 mss=1460"))
    );
    talk.send(&rst(S + 3));
    assert_eq!(talk.network.poll(at(u64::from(u32::MAX))), None);

    let mut talk = Talk::with(|_| ());
    talk.connect(&syn(S));
    assert_eq!(talk.lines(20_000), [""; 0]);
}

#[test]
fn what_acknowledges_something_else_is_reset_and_harms_nothing() {
    let application = TcpApplication::default();
    let mut talk = Talk::with(|l| l.application = application.clone());
    talk.send(&syn(S));
    let number = talk.peer + 1;
    assert_eq!(talk.say(&ack(S + 1, number + 1)), ["rst seq=+2"]);
    assert_eq!(talk.say(&segment(S + 1).data(b"x")), [""; 0], "there must be an acknowledgement");
    assert_eq!(application.accepted(), 0);
    // The first data may come with the acknowledgement.
    assert_eq!(talk.say(&ack(S + 1, number).data(b"abc")), ["ack seq=+1 ack=+4"]);
    assert_eq!((application.accepted(), application.received()), (1, 3));
}

#[test]
fn a_listener_resets_what_belongs_to_no_connection() {
    let mut talk = Talk::with(|_| ());
    assert_eq!(talk.say(&ack(S, 77)), ["rst seq=+77"]);
    assert_eq!(talk.say(&syn(S).with_ack(77)), ["rst seq=+77"]);
    for out in [rst(S), segment(S).data(b"x"), syn(S).fin()] {
        assert_eq!(talk.say(&out), [""; 0]);
    }
}

#[test]
fn options_are_used_where_both_want_them() {
    let all = || syn(S).sack_permitted().stamps(70, 0).window_scale();
    let mut talk = Talk::with(|_| ());
    let answer = talk.send(&all()).remove(0);
    assert_eq!(
        answer.line(S, talk.peer),
        "syn-ack seq=+0 ack=+1 mss=1460 sack-permitted window-scale echo=70"
    );
    talk.wait(498);
    // The target's clock goes on by what passed between the two SYN-ACKs.
    let later = talk.send(&all()).remove(0);
    assert_eq!(later.stamps.unwrap().0.wrapping_sub(answer.stamps.unwrap().0), 500);

    let answer = Talk::with(|_| ()).say(&syn(S).sack_permitted());
    assert_eq!(answer, ["syn-ack seq=+0 ack=+1 mss=1460 sack-permitted"]);
    let answer = Talk::with(|_| ()).say(&syn(S).stamps(70, 0));
    assert_eq!(answer, ["syn-ack seq=+0 ack=+1 mss=1460 echo=70"]);
    let answer = Talk::with(|l| (l.sack, l.timestamps) = (SackUse::NotPermitted, false)).say(&all());
    assert_eq!(answer, ["syn-ack seq=+0 ack=+1 mss=1460 window-scale"]);
    let answer = Talk::with(|l| l.sack = SackUse::PermittedUnused).say(&syn(S).sack_permitted());
    assert_eq!(answer, ["syn-ack seq=+0 ack=+1 mss=1460 sack-permitted"]);
}

#[test]
fn cookies_answer_every_syn_and_keep_nothing() {
    let application = TcpApplication::default();
    let mut talk = Talk::with(|l| (l.syn_cookies, l.application) = (true, application.clone()));
    let mut numbers = Vec::new();
    for i in 0..3 {
        let line = format!("syn-ack seq=+0 ack=+{} mss=1460", i + 1);
        assert_eq!(talk.say(&syn(S + i).sack_permitted().window_scale()), [line]);
        numbers.push(talk.peer);
    }
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2]);
    assert_eq!(talk.network.next_event(), None);
    // The cookie of another SYN is none of this one's.
    assert_eq!(talk.say(&ack(S + 3, numbers[0] + 1)).len(), 1);
    assert_eq!(application.accepted(), 0);
    assert_eq!(talk.say(&ack(S + 2, numbers[1] + 1)), [""; 0]);
    assert_eq!(application.accepted(), 1);
    talk.peer = numbers[1];
    assert_eq!(
        talk.say(&ack(S + 9, numbers[1] + 1).data(b"x")),
        ["ack seq=+1 ack=+2"],
        "options are forgotten"
    );
}

#[test]
fn cookies_remember_options_in_the_timestamp() {
    for (permitted, blocks) in [(true, " sack=+5..+6"), (false, "")] {
        let mut talk = Talk::with(|l| l.syn_cookies = true);
        let mut out = syn(S).stamps(70, 0).window_scale();
        if permitted {
            out = out.sack_permitted();
        }
        let stamp = talk.send(&out)[0].stamps.unwrap().0;
        let number = talk.peer + 1;
        talk.send(&ack(S + 1, number).stamps(71, stamp));
        let answer = talk.say(&ack(S + 5, number).stamps(72, stamp).data(b"x"));
        assert_eq!(answer, [format!("ack seq=+1 ack=+1 echo=71{blocks}")]);
    }
}

#[test]
fn a_half_open_connection_challenges_an_older_timestamp() {
    let mut talk = Talk::with(|_| ());
    talk.send(&syn(S).stamps(70, 0));
    let number = talk.peer + 1;
    assert_eq!(talk.say(&ack(S + 1, number).stamps(69, 0)), ["ack seq=+1 ack=+1 echo=70"]);
    assert_eq!(talk.say(&ack(S + 1, number).stamps(70, 0)), [""; 0]);
    assert_eq!(talk.say(&ack(S + 1, number).stamps(70, 0).data(b"x")), ["ack seq=+1 ack=+2 echo=70"]);
}

#[test]
fn flows_have_nothing_to_do_with_each_other() {
    let mut talk = Talk::with(|_| ());
    assert_eq!(talk.say(&syn(S)), ["syn-ack seq=+0 ack=+1 mss=1460"]);
    let number = talk.peer;
    talk.client.set_port(50_001);
    assert_eq!(talk.say(&syn(S)), ["syn-ack seq=+0 ack=+1 mss=1460"]);
    assert_ne!(talk.peer, number);
    talk.target.set_port(80);
    assert_eq!(talk.say(&syn(S + 1)), ["syn-ack seq=+0 ack=+2 mss=1460"]);
}

#[test]
fn slow_targets_send_everything_late() {
    let listener = TcpListener { banner: Some((Duration::ZERO, vec![7])), ..TcpListener::default() };
    let topology = Topology::chain(0).with_target(|t| {
        t.services.tcp = TcpService::Listening(listener);
        t.answers.delay = 30 * MS;
        t.alive = at(0)..at(900);
    });
    let mut talk = Talk { network: Network::new(topology, 1), ..Talk::with(|_| ()) };
    talk.network.inject(at(0), &syn(S).datagram(talk.client, talk.target)).unwrap();
    // Sent late, and not repeated by the dead.
    assert_eq!(talk.lines(5_000), ["32 syn-ack seq=+0 ack=+1 mss=1460"]);
}
