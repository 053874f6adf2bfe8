//! What a reader sees, as text. The expected tables are written by hand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use traceroute::{
    EndReason, EndToEnd, Hop, Interface, Mode, MplsLabel, Nat, PortState, Protocol, Request,
    RequestDestination, RequestSource, Results, RunDestination, RunResult, RunSource, TcpMethod, TraceEvent,
    Traceroute, Ttl, Unreachable,
};

use super::layout::{lines, progress};
use super::picture::Picture;
use super::table::Table;
use super::text::Span;

const TARGET: &str = "192.0.2.9";
const SOURCE: &str = "192.0.2.200";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ttl(ttl: u8) -> Ttl {
    Ttl::new(ttl).expect("not zero")
}

/// A hop that did not answer.
fn silent(number: u8) -> Hop {
    Hop {
        ttl: ttl(number),
        ip_address: None,
        rtt: 0.0,
        reachable: false,
        unreachable: None,
        mtu: None,
        reverse_dns: Vec::new(),
        mpls: Vec::new(),
        interface: None,
        nat: None,
        rtt_source: None,
    }
}

fn hop(number: u8, address: &str, rtt: f64) -> Hop {
    Hop { ip_address: Some(ip(address)), rtt, reachable: true, ..silent(number) }
}

fn run(id: &str, hops: Vec<Hop>, end_reason: EndReason) -> RunResult {
    RunResult {
        run_id: id.into(),
        source: RunSource { ip_address: ip(SOURCE), port: 40_000 },
        destination: RunDestination { ip_address: ip(TARGET), port: 33_434, reverse_dns: Vec::new() },
        hops,
        reached: matches!(end_reason, EndReason::Destination | EndReason::DestinationTimeExceeded),
        end_reason,
        port_state: None,
        method: None,
        mode: None,
        late: 0,
        duplicates: 0,
        capture_drops: 0,
        send_errors: 0,
    }
}

fn request(target: &str, runs: u16, probes: u16) -> Request {
    Request::builder(target).traceroute_queries(runs).e2e_queries(probes).build().expect("valid")
}

fn results(runs: Vec<RunResult>, rtts: &[Option<u64>]) -> Results {
    let rtts: Vec<_> = rtts.iter().map(|rtt| rtt.map(Duration::from_micros)).collect();
    Results {
        test_run_id: "-test".into(),
        protocol: Protocol::Udp,
        source: RequestSource::default(),
        destination: RequestDestination { hostname: TARGET.into(), port: 33_434 },
        traceroute: Traceroute::new(runs),
        e2e_probe: EndToEnd::new(&rtts),
        warnings: Vec::new(),
    }
}

fn shown(table: &Table, width: usize) -> String {
    let lines: Vec<String> = lines(table, width).iter().map(|line| line.painted(false)).collect();
    assert!(lines.iter().all(|line| Span::plain(line).width() <= width), "wider than {width}: {lines:#?}");
    lines.join("\n") + "\n"
}

fn final_table(target: &str, results: &Results) -> Table {
    let runs = results.traceroute.runs.as_ref().map_or(0, Vec::len);
    let probes = results.e2e_probe.packets_sent;
    let request = request(target, u16::try_from(runs).expect("few"), u16::try_from(probes).expect("few"));
    let mut picture = Picture::new(&request);
    picture.complete(results);
    Table::of(&picture)
}

/// A path with a silent hop and a load balancer.
fn balanced() -> Results {
    let run = |id: &str, second: &str, rtts: [f64; 3]| {
        let hops =
            vec![hop(1, "192.0.2.1", rtts[0]), hop(2, second, rtts[1]), silent(3), hop(4, TARGET, rtts[2])];
        run(id, hops, EndReason::Destination)
    };
    let runs = vec![
        run("a", "192.0.2.11", [0.512, 1.25, 10.0]),
        run("b", "192.0.2.22", [0.498, 1.5, 100.25]),
        run("c", "192.0.2.11", [0.601, 1.75, 1_234.56]),
    ];
    // |12 - 10| and |11 - 12|.
    results(runs, &[Some(10_000), Some(12_000), None, Some(11_000)])
}

#[test]
fn a_load_balanced_path_shows_each_address_with_the_round_trips_of_its_runs() {
    let expected = "\
traceroute to target.test (192.0.2.9)  udp port 33434  from 192.0.2.200  3 runs
hop  address     loss   run 1    run 2   run 3
  1  192.0.2.1     0%   0.512    0.498   0.601
  2  192.0.2.11    0%   1.250            1.750
     192.0.2.22                  1.500
  3  *           100%       *        *       *
  4  192.0.2.9     0%  10.000  100.250  1234.6
all runs: destination reached at hop 4
4 hops  e2e loss 25% of 4  rtt min/avg/max 10.00/11.00/12.00  jitter 1.500 ms
";
    assert_eq!(shown(&final_table("target.test", &balanced()), 80), expected);
}

#[test]
fn eighty_columns_are_enough_for_the_longest_address_and_three_runs() {
    let address = "2001:db8:1234:5678:9abc:def0:1234:5678";
    let longest = "2001:0db8:1234:5678:9abc:def0:1234:5678".len();
    let hops = |rtt| vec![hop(1, address, rtt), hop(2, &format!("2{}", &address[1..]), rtt)];
    let runs = ["a", "b", "c"].map(|id| run(id, hops(599_999.0), EndReason::MaxTtl)).into();
    let text = shown(&final_table(TARGET, &results(runs, &[])), 80);
    for line in text.lines().filter(|line| line.contains("2001:")) {
        assert!(line.contains(address) && line.matches("599999").count() == 3, "{text}");
    }
    assert_eq!(3 + 2 + longest + 2 + 4 + 3 * (2 + 7), 77, "and three columns for marks of the clock");
}

#[test]
fn what_does_not_fit_beside_the_address_goes_below() {
    let mut table = final_table("target.test", &balanced());
    let long = "xe-0-0-0.very.long.router-name.of.some.provider.with.many.labels.test";
    table.rows[0].groups[0].pieces.push(Span::plain("gateway.test"));
    table.rows[1].groups[0].pieces.push(Span::plain(long));
    table.rows[1].groups[1].pieces.push(Span::plain("ルーター.例え.test"));
    let expected = "\
hop  address                         loss   run 1    run 2   run 3
  1  192.0.2.1   gateway.test          0%   0.512    0.498   0.601
  2  192.0.2.11                        0%   1.250            1.750
       xe-0-0-0.very.long.router-name.of.some.provider.with.many.labels.test
     192.0.2.22  ルーター.例え.test                  1.500
  3  *                               100%       *        *       *
  4  192.0.2.9                         0%  10.000  100.250  1234.6
";
    let narrow = shown(&table, 80);
    assert!(narrow.contains(expected), "{narrow}");
    let wide = shown(&table, 200);
    let beside = format!("  2  192.0.2.11  {long}    0%   1.250            1.750\n");
    assert!(wide.contains(&beside), "{wide}");
}

#[test]
fn a_narrow_terminal_and_many_runs_get_less_detail() {
    let text = shown(&final_table("target.test", &balanced()), 45);
    assert!(text.contains("hop  address     loss      avg\n"), "{text}");
    assert!(text.contains("  2  192.0.2.11    0%    1.500\n"), "{text}");
    assert!(text.contains("     192.0.2.22          1.500\n"), "{text}");
    assert!(text.contains("  3  *           100%\n"), "{text}");
    // (10 + 100.25 + 1234.56) / 3
    assert!(text.contains("  4  192.0.2.9     0%  448.270\n"), "{text}");

    let hops = |n: u8| match n % 4 {
        0 => vec![hop(1, TARGET, 1.0)],
        1 => vec![hop(1, "192.0.2.8", 2.0), hop(2, TARGET, 5.0)],
        _ => vec![silent(1), hop(2, TARGET, f64::from(n))],
    };
    let many = (0..20).map(|n| run(&n.to_string(), hops(n), EndReason::Destination)).collect();
    let expected = "\
hop  address    loss   runs    min    avg     max
  1  192.0.2.9   50%      5  1.000  1.000   1.000
     192.0.2.8            5  2.000  2.000   2.000
  2  192.0.2.9    0%     15  2.000  8.667  19.000
runs 1, 5, 9, 13, 17: destination reached at hop 1
";
    // (5 * 5 + 2 + 3 + 6 + 7 + 10 + 11 + 14 + 15 + 18 + 19) / 15
    let text = shown(&final_table(TARGET, &results(many, &[])), 80);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn below_forty_columns_the_layout_is_that_of_forty() {
    let table = final_table("target.test", &balanced());
    for width in [0, 1, 39] {
        assert_eq!(lines(&table, width), lines(&table, 40));
    }
}

#[test]
fn what_routers_say_stands_behind_the_address() {
    let labels = vec![
        MplsLabel { label: 24_001, exp: 0, bottom: false, ttl: 1 },
        MplsLabel { label: 16, exp: 5, bottom: true, ttl: 254 },
    ];
    let interface = Interface {
        role: "sub_ip_component",
        index: Some(7),
        address: None,
        name: Some("eth0\u{1b}[31m".into()),
        mtu: Some(1_500),
    };
    let source: SocketAddr = "203.0.113.7:4444".parse().expect("an address");
    let labelled = Hop { mpls: labels, ..hop(1, "192.0.2.1", 1.0) };
    let hops = vec![
        labelled,
        Hop {
            interface: Some(interface),
            nat: Some(Nat { source }),
            rtt_source: Some("user"),
            ..hop(2, "192.0.2.2", 2.0)
        },
        Hop { unreachable: Some(Unreachable::Host), ..hop(3, "192.0.2.3", 3.0) },
    ];
    let text = shown(&final_table(TARGET, &results(vec![run("a", hops, EndReason::Unreachable)], &[])), 80);
    let expected = "\
traceroute to 192.0.2.9  udp port 33434  from 192.0.2.200
hop  address                                               loss      ms
  1  192.0.2.1  MPLS 24001 exp 0 ttl 1 / 16 exp 5 ttl 254    0%   1.000
  2  192.0.2.2  NAT, seen as 203.0.113.7:4444                0%  2.000u
       sub ip component interface eth0\\u{1b}[31m, index 7, MTU 1500
  3  192.0.2.3  !host unreachable                            0%   3.000
no way on from hop 3: host unreachable
3 hops
u: by the program's clock, because a time stamp of the kernel's is missing
";
    assert_eq!(text, expected);
}

#[test]
fn what_one_run_alone_was_told_is_said_with_its_number() {
    let label = MplsLabel { label: 16, exp: 0, bottom: true, ttl: 1 };
    let runs = [(1, vec![]), (2, vec![label]), (3, vec![])].map(|(number, mpls)| {
        run(&number.to_string(), vec![Hop { mpls, ..hop(1, TARGET, 1.0) }], EndReason::Destination)
    });
    let text = shown(&final_table(TARGET, &results(runs.into(), &[])), 80);
    assert!(text.contains("192.0.2.9  MPLS 16 exp 0 ttl 1 (run 2)"), "{text}");
}

#[test]
fn every_ending_is_said_in_words() {
    let ending = |run: RunResult| {
        let text = shown(&final_table(TARGET, &results(vec![run], &[])), 100);
        // What sums up begins with a number.
        let mut lines = text.lines().filter(|line| !line.starts_with(|first: char| first.is_ascii_digit()));
        lines.next_back().expect("an ending").to_owned()
    };
    let path = || vec![hop(1, "192.0.2.1", 1.0), silent(2)];
    let reached = || vec![silent(1), hop(2, TARGET, 1.0)];
    let with = |reason| vec![Hop { unreachable: Some(reason), ..hop(1, "192.0.2.1", 1.0) }];
    for (run, said) in [
        (run("a", reached(), EndReason::Destination), "destination reached at hop 2"),
        (
            run("a", reached(), EndReason::DestinationTimeExceeded),
            "destination reached at hop 2, which says time exceeded only",
        ),
        (
            RunResult {
                port_state: Some(PortState::Open),
                method: Some(TcpMethod::Syn),
                ..run("a", reached(), EndReason::Destination)
            },
            "destination reached at hop 2, port open, by syn because sack did not work",
        ),
        (
            RunResult { mode: Some(Mode::Unprivileged), ..run("a", reached(), EndReason::Destination) },
            "destination reached at hop 2, unprivileged",
        ),
        (
            run("a", path(), EndReason::MaxTtl),
            "destination not reached within 2 hops, last answer from hop 1",
        ),
        (run("a", vec![silent(1), silent(2)], EndReason::MaxTtl), "no answer from any of 2 hops"),
        (
            run("a", vec![hop(6, TARGET, 1.0)], EndReason::Destination),
            "destination reached at hop 6 or before: it is the first that was probed",
        ),
        (run("a", vec![silent(5)], EndReason::MaxTtl), "no answer from hop 5"),
        (run("a", path(), EndReason::Interrupted), "interrupted, last answer from hop 1"),
        (run("a", vec![silent(1)], EndReason::Interrupted), "interrupted before any answer"),
        (
            RunResult { reached: true, ..run("a", reached(), EndReason::Interrupted) },
            "interrupted, destination reached at hop 2",
        ),
        (
            run("a", with(Unreachable::AdminProhibited), EndReason::Unreachable),
            "no way on from hop 1: administratively prohibited",
        ),
        (
            run("a", with(Unreachable::FragmentationNeeded { mtu: 1_280 }), EndReason::Unreachable),
            "no way on from hop 1: fragmentation needed, MTU 1280",
        ),
        (
            run("a", with(Unreachable::Code(15)), EndReason::Unreachable),
            "no way on from hop 1: unreachable, code 15",
        ),
    ] {
        assert_eq!(ending(run), said);
    }
}

#[test]
fn endings_and_incidents_are_said_once_for_those_that_agree() {
    let done = |id| run(id, vec![hop(1, TARGET, 1.0)], EndReason::Destination);
    let runs = vec![
        RunResult { duplicates: 2, late: 1, ..done("a") },
        run("b", vec![silent(1)], EndReason::MaxTtl),
        RunResult { send_errors: 1, capture_drops: 3, ..done("c") },
    ];
    let mut results = results(runs, &[]);
    results.warnings = vec!["1 of 4 runs failed: no\nreason".into()];
    let text = shown(&final_table(TARGET, &results), 80);
    let expected = "\
runs 1, 3: destination reached at hop 1
run 2: no answer from hop 1
run 1: 1 late answer
run 1: 2 duplicate answers
run 3: 3 packets lost by the capture
run 3: 1 probe not sent
1 hop
warning: 1 of 4 runs failed: no\\u{a}reason
";
    assert!(text.ends_with(expected), "{text}");
    assert!(text.contains("  1  192.0.2.9   33%  1.000      *  1.000\n"), "{text}");
}

#[test]
fn without_runs_there_are_the_figures_of_the_probes() {
    let text = shown(&final_table(TARGET, &results(Vec::new(), &[None, None])), 80);
    assert_eq!(text, "traceroute to 192.0.2.9  udp port 33434  0 runs\ne2e loss 100% of 2\n");
}

#[test]
fn colours_tell_what_is_wrong_and_change_nothing_else() {
    let table = final_table("target.test", &balanced());
    let plain = shown(&table, 80);
    let painted: Vec<String> = lines(&table, 80).iter().map(|line| line.painted(true)).collect();
    let painted = painted.join("\n") + "\n";
    assert!(painted.contains("\u{1b}[31m100%\u{1b}[0m"), "{painted}");
    assert!(painted.contains("\u{1b}[32mall runs: destination reached at hop 4\u{1b}[0m"), "{painted}");
    assert!(painted.contains("\u{1b}[33me2e loss 25% of 4\u{1b}[0m"), "{painted}");
    let mut without = String::new();
    let mut rest = painted.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        without += before;
        rest = after.split_once('m').expect("the end of a sequence").1;
    }
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&(without + rest)), trimmed(&plain));
}

fn live(runs: u16, probes: u16, events: &[TraceEvent]) -> Picture {
    let mut picture = Picture::new(&request("target.test", runs, probes));
    feed(&mut picture, events);
    picture
}

fn feed(picture: &mut Picture, events: &[TraceEvent]) {
    for event in events {
        picture.take(event);
    }
}

fn resolved() -> TraceEvent {
    TraceEvent::Resolved { target: ip(TARGET), source: ip(SOURCE) }
}

fn sent(run: usize, number: u8) -> TraceEvent {
    TraceEvent::ProbeSent { run, ttl: ttl(number) }
}

fn answered(run: usize, hop: Hop) -> TraceEvent {
    TraceEvent::HopAnswered { run, hop }
}

#[test]
fn the_table_fills_in_from_the_events() {
    let mut picture = live(2, 0, &[]);
    assert_eq!(shown(&Table::of(&picture), 80), "traceroute to target.test  udp port 33434  2 runs\n");

    // The probe that asks for the distance goes first and far, and is none of the rows.
    let first =
        [resolved(), sent(0, 30), sent(0, 1), sent(1, 1), sent(0, 2), answered(0, hop(30, TARGET, 3.0))];
    feed(&mut picture, &first);
    feed(&mut picture, &[answered(0, hop(1, "192.0.2.1", 1.0))]);
    let expected = "\
traceroute to target.test (192.0.2.9)  udp port 33434  from 192.0.2.200  2 runs
hop  address    loss  run 1  run 2
  1  192.0.2.1    0%  1.000    ...
  2                     ...
";
    assert_eq!(shown(&Table::of(&picture), 80), expected);

    // One has found the target at hop 2; that the other has probed hop 3 is of no interest.
    let more =
        [sent(1, 2), sent(1, 3), answered(1, hop(1, "192.0.2.1", 2.0)), answered(0, hop(2, TARGET, 3.0))];
    feed(&mut picture, &more);
    picture.take(&TraceEvent::RunFinished {
        run: 0,
        result: run("a", vec![hop(1, "192.0.2.1", 1.0), hop(2, TARGET, 3.0)], EndReason::Destination),
    });
    let expected = "\
traceroute to target.test (192.0.2.9)  udp port 33434  from 192.0.2.200  2 runs
hop  address    loss  run 1  run 2
  1  192.0.2.1    0%  1.000  2.000
  2  192.0.2.9    0%  3.000    ...
run 1: destination reached at hop 2
2 hops
";
    assert_eq!(shown(&Table::of(&picture), 80), expected);

    picture.take(&TraceEvent::RunFailed { run: 1, reason: "no port".into() });
    picture.take(&TraceEvent::HopUpdated { run: 0, hop: hop(1, "192.0.2.1", 1.5) });
    let text = shown(&Table::of(&picture), 80);
    assert!(text.contains("  1  192.0.2.1    0%  1.500  2.000\n  2  192.0.2.9    0%  3.000\n"), "{text}");
    assert!(text.contains("run 2: failed: no port\n"), "{text}");
}

#[test]
fn names_and_public_address_appear_as_soon_as_they_are_known() {
    let hops = vec![hop(1, "192.0.2.1", 1.0), hop(2, TARGET, 3.0)];
    let named = |address, names: &[&str]| TraceEvent::Named {
        address: ip(address),
        names: names.iter().copied().map(String::from).collect(),
    };
    let events = [
        resolved(),
        named(TARGET, &["target.example."]),
        sent(0, 1),
        answered(0, hop(1, "192.0.2.1", 1.0)),
        named("192.0.2.1", &["one.example.", "two.example."]),
        TraceEvent::PublicIp { address: [203, 0, 113, 7].into() },
    ];
    let mut picture = live(1, 0, &events);
    let expected = "\
traceroute to target.test (192.0.2.9)  target.example  udp port 33434
  from 192.0.2.200  public address 203.0.113.7
hop  address                              loss     ms
  1  192.0.2.1  one.example  two.example    0%  1.000
";
    assert_eq!(shown(&Table::of(&picture), 80), expected);
    picture.take(&TraceEvent::RunFinished { run: 0, result: run("a", hops, EndReason::Destination) });
    let text = shown(&Table::of(&picture), 80);
    assert!(text.contains("  2  192.0.2.9  target.example              0%  3.000\n"), "{text}");
}

#[test]
fn what_is_waited_for_in_the_end_is_said() {
    let request = Request::builder("target.test").traceroute_queries(1).e2e_queries(1).reverse_dns(true);
    let mut picture = Picture::new(&request.source_public_ip(true).build().expect("valid"));
    let at = |picture: &Picture| progress(picture, Duration::from_secs(1), 80).painted(false);
    let finished = run("a", vec![hop(1, TARGET, 1.0)], EndReason::Destination);
    feed(&mut picture, &[resolved(), TraceEvent::RunFinished { run: 0, result: finished }]);
    assert!(at(&picture).starts_with("end to end ["), "{}", at(&picture));
    picture.take(&TraceEvent::EndToEnd { probe: 0, rtt: None });
    assert_eq!(at(&picture), "looking up the public address; Ctrl-C does without");
    picture.take(&TraceEvent::PublicIp { address: [203, 0, 113, 7].into() });
    assert_eq!(at(&picture), "looking up names; Ctrl-C does without");
}

#[test]
fn that_private_hops_are_hidden_is_said_where_some_seem_silent() {
    let remark = "*: no answer, or a private address, which is not shown\n";
    let text = |hops: Vec<Hop>| {
        let results = results(vec![run("a", hops, EndReason::Destination)], &[]);
        let request = Request::builder(TARGET).traceroute_queries(1).e2e_queries(0).skip_private_hops(true);
        let mut picture = Picture::new(&request.build().expect("valid"));
        picture.complete(&results);
        shown(&Table::of(&picture), 80)
    };
    assert!(text(vec![silent(1), hop(2, TARGET, 1.0)]).ends_with(remark));
    assert!(!text(vec![hop(1, "192.0.2.1", 1.0), hop(2, TARGET, 1.0)]).contains(remark));
}

#[test]
fn where_no_run_had_begun_it_is_said() {
    let mut picture = live(3, 2, &[resolved()]);
    picture.complete(&results(Vec::new(), &[]));
    assert!(shown(&Table::of(&picture), 80).ends_with("\ninterrupted before any run had begun\n"));
}

#[test]
fn a_fall_back_begins_anew() {
    let reason = String::from("SACK not supported");
    let fell_back = TraceEvent::FellBack { run: 0, method: TcpMethod::Syn, reason };
    let picture = live(1, 0, &[resolved(), sent(0, 1), answered(0, hop(1, "192.0.2.1", 1.0)), fell_back]);
    assert!(!shown(&Table::of(&picture), 80).contains("192.0.2.1 "));
}

#[test]
fn runs_keep_their_columns_though_the_results_are_in_another_order() {
    let result = |id, rtt| run(id, vec![hop(1, TARGET, rtt)], EndReason::Destination);
    let finished = |run, result| TraceEvent::RunFinished { run, result };
    let failed = TraceEvent::RunFailed { run: 1, reason: "no port".into() };
    let events = [resolved(), finished(2, result("c", 3.0)), failed, finished(0, result("a", 1.0))];
    let mut picture = live(3, 0, &events);
    picture.complete(&results(vec![result("c", 3.0), result("a", 1.0)], &[]));
    let text = shown(&Table::of(&picture), 80);
    assert!(text.contains("hop  address    loss  run 1  run 3\n"), "{text}");
    assert!(text.contains("  1  192.0.2.9    0%  1.000  3.000\n"), "{text}");
}

#[test]
fn progress_says_what_is_done_and_how_long_it_takes() {
    let at = |picture: &Picture, seconds, width| {
        progress(picture, Duration::from_secs(seconds), width).painted(false)
    };
    let mut picture = live(3, 50, &[]);
    assert_eq!(at(&picture, 0, 80), "looking up target.test");
    picture.take(&resolved());
    assert_eq!(at(&picture, 0, 80), "tracing, 0 of 3 runs done  end to end [--------------------] 0/50");
    for run_index in 0..3 {
        let result = run("x", vec![hop(1, TARGET, 1.0)], EndReason::Destination);
        picture.take(&TraceEvent::RunFinished { run: run_index, result });
    }
    for probe in 0..5 {
        let rtt = (probe != 4).then_some(Duration::from_micros(9_123));
        picture.take(&TraceEvent::EndToEnd { probe, rtt });
        if probe == 3 {
            // Four in 3 s are one a second.
            let line = "end to end [#-------------------] 4/50  last 9.123 ms  about 46 s left";
            assert_eq!(at(&picture, 3, 80), line);
        }
    }
    assert_eq!(at(&picture, 4, 80), "end to end [##------------------] 5/50  last lost  about 45 s left");
    assert_eq!(at(&picture, 4, 50), "end to end [##------------------] 5/50  last lost");
    assert_eq!(at(&picture, 4, 10), "end to");
}

#[test]
fn csv_has_a_row_for_each_run_and_hop() {
    let mut results = balanced();
    results.destination.hostname = "target.test".into();
    results.source.public_ip = "203.0.113.7".into();
    let mut text = Vec::new();
    super::csv::write(&results, &mut text).expect("memory does not fail");
    let text = String::from_utf8(text).expect("text");
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 1 + 3 * 4 + 1, "{text}");
    assert_eq!(lines.last(), Some(&""));
    assert!(lines.iter().take(13).all(|line| line.split(',').count() == 32), "{text}");
    let start = "-test,target.test,udp,203.0.113.7,1,a,192.0.2.200,40000,192.0.2.9,33434,true,destination,,,";
    let end = "4,3,0.25,10,11,12,1.5";
    assert_eq!(lines[1], format!("{start},1,192.0.2.1,,0.512,,,,,,,{end}"));
    assert_eq!(lines[3], format!("{start},3,,,,,,,,,,{end}"));
}

#[test]
fn csv_has_a_row_for_the_probes_where_there_are_no_runs() {
    let mut text = Vec::new();
    super::csv::write(&results(Vec::new(), &[Some(1_000)]), &mut text).expect("memory does not fail");
    let text = String::from_utf8(text).expect("text");
    let rows: Vec<&str> = text.split("\r\n").skip(1).collect();
    assert_eq!(rows, [format!("-test,192.0.2.9,udp,{}1,1,0,1,1,1,0", ",".repeat(22)).as_str(), ""]);
}
