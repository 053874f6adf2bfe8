//! What a person sees: the program on a pseudo-terminal, and what a terminal makes of its output.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::fs;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use common::{path, program, targets};
use terminal::{Seen, Terminal};
use traceroute_testnet::AddressPlan;
use traceroute_testnet::kernel::{Chain, Namespace, Scratch};
use traceroute_testnet::sim::Topology;
use traceroute_testnet::sim::real_time::SimulatedLink;

/// A load balancer at hop 2 with three ways, and a silent router at hop 3.
fn balanced() -> SimulatedLink {
    let topology = Topology::chain_with(4, AddressPlan::Public)
        .with_branches(2, &[1, 1, 1])
        .with_router(3, |router| router.answers.silent = true);
    SimulatedLink::veth(topology, 1).unwrap()
}

/// The simulated network is a thread of ours, whose answers may be late. The silent router is waited for in any case.
const PATIENT: [&str; 3] = ["--wait=full", "--timeout", "1000"];

fn run(namespace: &Namespace, size: (u16, u16), arguments: &[&str]) -> Seen {
    Terminal::open(size).start(program(namespace, arguments)).wait()
}

/// The rows of the table, as words.
fn rows(screen: &str) -> Vec<Vec<&str>> {
    let rows = screen.lines().skip_while(|line| !line.starts_with("hop")).skip(1);
    let is_row = |line: &&str| line.starts_with("  ");
    rows.take_while(is_row).map(|line| line.split_whitespace().collect()).collect()
}

fn is_rtt(word: &str) -> bool {
    word.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 3) && word.parse::<f64>().is_ok()
}

#[test]
fn a_path_is_a_table_at_every_width() {
    let chain = Chain::builder().routers(3).build().unwrap();
    for size in [(80, 24), (200, 50)] {
        for target in targets(&chain) {
            let seen = run(chain.client(), size, &["-q3", "-Q2", &target.to_string()]);
            assert_eq!(seen.status, Some(0), "{seen:?}");
            let expected = path(&chain, target);
            let rows = rows(&seen.screen);
            assert_eq!(rows.len(), expected.len(), "{}", seen.screen);
            for ((ttl, address), row) in (1_usize..).zip(&expected).zip(&rows) {
                let [number, from, "0%", rtts @ ..] = row.as_slice() else { panic!("{row:?}") };
                assert_eq!((*number, *from), (ttl.to_string().as_str(), address.as_str()));
                assert!(rtts.len() == 3 && rtts.iter().all(|rtt| is_rtt(rtt)), "{row:?}");
            }
            let below: Vec<&str> = seen.screen.lines().skip(2 + expected.len()).collect();
            assert_eq!(below[0], "all runs: destination reached at hop 4");
            assert!(below[1].starts_with("4 hops  e2e loss 0% of 2  rtt min/avg/max "), "{below:?}");
            assert!(below[1].contains("jitter"), "{below:?}");
            assert_eq!(below.len(), 2, "nothing of the progress is left: {}", seen.screen);
            assert!(seen.screen.lines().all(|line| line.chars().count() <= usize::from(size.0)));
        }
    }
}

#[test]
fn a_load_balanced_path_shows_who_went_where() {
    let link = balanced();
    let target = IpAddr::from(link.target().v4).to_string();
    // Ports are drawn at random: of six flows two take the same branch, and all six one time in 243.
    let seen = run(link.client(), (120, 40), &[&["-q6", "-Q0", &target][..], &PATIENT].concat());
    let rows = rows(&seen.screen);
    let second: Vec<_> =
        rows.iter().filter(|row| row.iter().any(|word| word.starts_with("198.18.1."))).collect();
    let rtts: usize = second.iter().map(|row| row.iter().filter(|word| is_rtt(word)).count()).sum();
    assert_eq!(rtts, 6, "each run has one address at hop 2: {}", seen.screen);
    let third = rows.iter().find(|row| row[0] == "3").unwrap();
    assert_eq!(third[1..], ["*", "100%", "*", "*", "*", "*", "*", "*"], "{}", seen.screen);
}

#[test]
fn the_table_fills_in_and_the_progress_is_shown_meanwhile() {
    let link = balanced();
    let target = link.target().v4.to_string();
    let arguments = [&["-q1", "-Q4", "--e2e-interval", "1000", &target][..], &PATIENT].concat();
    let seen = run(link.client(), (80, 24), &arguments);
    let progress = |screen: &&String| screen.contains("end to end [");
    let with_progress: Vec<_> = seen.screens.iter().filter(progress).collect();
    assert!(with_progress.iter().any(|screen| screen.contains("] 2/4")), "{seen:?}");
    let begun = with_progress.iter().find(|screen| screen.contains("tracing, 0 of 1 runs done"));
    assert!(begun.is_some(), "{seen:?}");
    assert!(with_progress.iter().any(|screen| screen.contains("destination reached")), "{seen:?}");
    assert!(!seen.screen.contains("end to end ["), "{}", seen.screen);
    // Four probes, a second apart; at most ten drawings a second, and the end.
    let most = seen.took.as_millis() / 100 + 3;
    assert!(seen.drawings as u128 <= most, "{} in {:?}", seen.drawings, seen.took);
}

#[test]
fn colours_are_shown_unless_they_are_unwanted() {
    let link = balanced();
    let target = link.target().v4.to_string();
    let arguments = ["-q1", "-Q0", target.as_str()];
    let with = |variable: &str, value: &str| {
        let mut command = program(link.client(), &arguments);
        command.env(variable, value);
        Terminal::open((80, 24)).start(command).wait()
    };
    for (variable, value, coloured) in
        [("NO_COLOR", "", true), ("NO_COLOR", "1", false), ("TERM", "dumb", false), ("TERM", "xterm", true)]
    {
        let seen = with(variable, value);
        assert_eq!(seen.is_coloured("100%"), coloured, "{variable}={value}: {seen:?}");
        assert_eq!(seen.raw.contains("\u{1b}[3"), coloured, "{variable}={value}: {seen:?}");
        // A terminal that knows nothing gets lines and nothing else.
        assert_eq!(seen.raw.contains('\u{1b}'), value != "dumb", "{seen:?}");
    }
}

#[test]
fn a_path_longer_than_the_screen_is_printed_once_and_in_full() {
    let chain = Chain::builder().routers(12).build().unwrap();
    let target = targets(&chain)[0];
    let seen = run(chain.client(), (80, 10), &["-q1", "-Q2", &target.to_string()]);
    assert!(seen.screens.iter().any(|screen| screen.contains("lines more")), "{seen:?}");
    let everything = seen.with_what_has_scrolled_away();
    for address in path(&chain, target) {
        let of_it = everything.lines().filter(|line| line.split_whitespace().nth(1) == Some(&address));
        assert_eq!(of_it.count(), 1, "{address} in {everything}");
    }
    assert!(!everything.contains("lines more") && !everything.contains("end to end ["), "{everything}");
}

#[test]
fn what_others_write_stays() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let target = targets(&chain)[0].to_string();
    let mut command = chain.client().command("sh");
    let script = "echo before; \"$0\" \"$@\"; echo after";
    command.args(["-c", script, common::PROGRAM, "-q1", "-Q2", &target]);
    let seen = Terminal::open((80, 24)).start(command).wait();
    let lines: Vec<&str> = seen.screen.lines().collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"before"), Some(&"after")), "{}", seen.screen);
    assert_eq!(lines.len(), 2 + 2 + 2 + 2, "title, heading, two hops, ending, summary: {}", seen.screen);
}

#[test]
fn a_log_on_the_same_terminal_goes_above_the_table() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let target = targets(&chain)[0];
    let arguments = ["-v", "-q1", "-Q2", &target.to_string()];
    let seen = Terminal::open((1_000, 24)).start(program(chain.client(), &arguments)).wait();
    let everything = seen.with_what_has_scrolled_away();
    let lines: Vec<&str> = everything.lines().collect();
    let log = lines.iter().take_while(|line| !line.starts_with("traceroute to")).count();
    assert!(
        log > 3 && lines[..log].iter().all(|line| line.contains("TRACE") || line.contains("DEBUG")),
        "{everything}"
    );
    assert_eq!(lines.len() - log, 6, "the table, once: {everything}");
}

#[test]
fn interrupting_prints_what_is_known_and_leaves_the_terminal_as_it_was() {
    let chain = Chain::builder().routers(2).build().unwrap();
    let target = targets(&chain)[0];
    // The terminal's keys send signals to those whose controlling terminal it is.
    let mut command = chain.client().command("setsid");
    command.args(["--ctty", "--wait", common::PROGRAM, "-q1", &target.to_string()]);
    let seen = Terminal::open((80, 24)).start(command).type_when("destination reached", b"\x03").wait();
    assert_eq!(seen.status, Some(130), "{seen:?}");
    let lines: Vec<&str> = seen.screen.lines().collect();
    assert_eq!(lines[0], "interrupted: these results are incomplete", "{}", seen.screen);
    assert!(lines[1].starts_with("traceroute to"), "{}", seen.screen);
    assert_eq!(rows(&seen.screen).len(), 3);
    assert!(!seen.screen.contains("end to end ["), "{}", seen.screen);
    assert!(seen.cursor_is_visible && !seen.raw.contains("\u{1b}[?"), "no mode was changed: {seen:?}");
}

#[test]
fn a_terminal_that_changes_its_size_is_drawn_anew() {
    let chain = Chain::builder().routers(2).build().unwrap();
    let target = targets(&chain)[1];
    let running =
        Terminal::open((200, 24)).start(program(chain.client(), &["-q3", "-Q3", &target.to_string()]));
    let seen = running.resize_when("destination reached", (60, 20)).wait();
    assert!(seen.screen.lines().all(|line| line.chars().count() <= 60), "{}", seen.screen);
    assert_eq!(rows(&seen.screen).len(), 3, "{}", seen.screen);
    assert!(seen.screen.starts_with("traceroute to"), "{}", seen.screen);
}

#[test]
fn progress_goes_to_standard_error_where_the_result_goes_into_a_file() {
    let link = balanced();
    let target = link.target().v4.to_string();
    let scratch = Scratch::new("progress");
    for format in ["json", "csv"] {
        let file = scratch.path().join(format);
        let mut command = program(link.client(), &["-q1", "-Q2", "--format", format, &target]);
        command.stdout(fs::File::create(&file).unwrap());
        let seen = Terminal::open((80, 24)).start_errors_only(command).wait();
        assert!(seen.screens.iter().any(|screen| screen.contains("end to end [")), "{seen:?}");
        assert_eq!(seen.screen, "", "nothing is left of it");
        let result = fs::read_to_string(&file).unwrap();
        assert!(
            result.starts_with(if format == "json" { "{" } else { "test_run_id," })
                && !result.contains('\u{1b}')
        );
    }
    // Who reads a pipe may want the terminal for itself.
    let mut command = program(link.client(), &["-q1", "-Q2", &target]);
    command.stdout(Stdio::piped());
    let seen = Terminal::open((80, 24)).start_errors_only(command).wait();
    assert_eq!(seen.raw, "");
    assert!(seen.took < Duration::from_secs(10));
}
