//! How the program ends: by a signal, and with outputs that nobody reads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Outcome, PROGRAM, Running, addresses, path, program, program_with_files, start, start_with, targets,
};
use traceroute_testnet::Capture;
use traceroute_testnet::kernel::{Chain, Namespace, Scratch};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// Sends a signal, and returns what the process left behind within a second of it.
fn end_by(signal: &str, running: Running) -> Outcome {
    let kill = format!("kill -{signal} {}", running.child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let signalled = Instant::now();
    let outcome = running.wait();
    assert!(signalled.elapsed() < Duration::from_secs(1), "{:?} after the signal", signalled.elapsed());
    outcome
}

/// What is said and printed when a signal ends a trace.
#[track_caller]
fn assert_interrupted(outcome: &Outcome, status: i32) -> common::Report {
    assert_eq!(outcome.status, Some(status), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("interrupted") && outcome.stderr.contains("incomplete"), "{outcome:?}");
    outcome.json()
}

/// Answers on the target's port 33434 until probes of `flows` flows have come.
fn await_flows(chain: &Chain, flows: usize) -> impl FnOnce() -> UdpSocket + use<> {
    let address = SocketAddr::new(chain.target().addresses().v4.into(), 33434);
    let socket = chain.target().run(|| UdpSocket::bind(address)).unwrap();
    move || {
        let mut seen = HashSet::new();
        while seen.len() < flows {
            let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
            socket.send_to(b"hello", from).unwrap();
            seen.insert(from);
        }
        socket
    }
}

#[test]
fn a_signal_amid_the_end_to_end_probes_prints_what_was_learnt() {
    for (signal, status) in SIGNALS {
        let chain = Chain::builder().build().unwrap();
        let target = targets(&chain)[0];
        // The first end-to-end probe, the run, and the second end-to-end probe a second later; 47 are still to come.
        let third_flow = await_flows(&chain, 3);
        let capture = Capture::start(chain.client(), "right").unwrap();
        let running = start(&mut program(chain.client(), &["-q1", &target.to_string()]));
        let _socket = third_flow();
        let outcome = end_by(signal, running);

        let report = assert_interrupted(&outcome, status);
        report.assert_reached(1, &path(&chain, target));
        let sent = report.0["e2e_probe"]["packets_sent"].as_u64().unwrap();
        assert!((1..50).contains(&sent), "{outcome:?}");
        let probes = wire::probes(&capture.stop().unwrap(), target);
        let flows: HashSet<&[u8]> = probes.iter().map(|probe| &probe.signature[..2]).collect();
        // One is the run's, and another may have been on its way.
        assert!((1..=2).contains(&(flows.len() as u64 - sent)), "{} flows: {outcome:?}", flows.len());
        assert_eq!(report.0["e2e_probe"]["packets_received"], sent, "a probe on its way is not a lost one");
        assert!(outcome.stdout.ends_with("}\n"));
    }
}

#[test]
fn a_signal_amid_a_run_prints_the_hops_found_so_far() {
    for (signal, status) in SIGNALS {
        let chain = Chain::builder().routers(2).build().unwrap();
        chain.target().blackhole().unwrap();
        let target = targets(&chain)[0];
        let arguments = ["-v", "-q1", "-Q0", "--timeout", "60000", &target.to_string()];
        let mut running = start(&mut program(chain.client(), &arguments));
        // Both routers have answered once the log says so; the target never will.
        let mut log = BufReader::new(running.child.stderr.take().unwrap()).lines();
        for router in path(&chain, target).iter().take(2) {
            log.find(|line| {
                line.as_ref().is_ok_and(|line| line.contains("HopAnswered") && line.contains(router))
            })
            .unwrap()
            .unwrap();
        }
        // Nobody may be kept from writing the log.
        let rest = thread::spawn(move || log.map_while(Result::ok).last());
        let outcome = end_by(signal, running);

        assert_eq!(outcome.status, Some(status));
        let said = rest.join().unwrap().unwrap();
        assert!(said.contains("interrupted") && said.contains("incomplete"), "{said}");
        let report = outcome.json();
        let run = report.run();
        let found = addresses(run);
        assert_eq!(found[..2], path(&chain, target)[..2], "{run}");
        assert!(found[2..].iter().all(|hop| hop.is_empty()), "{run}");
        assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"interrupted".into()));
    }
}

#[test]
fn a_signal_before_anything_was_learnt_says_so() {
    for (signal, status) in SIGNALS {
        let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("signal"));
        let resolver = namespace.run(|| UdpSocket::bind("127.0.0.2:53")).unwrap();
        let file = scratch.write("resolv.conf", "nameserver 127.0.0.2\n");
        let files = [(file.as_str(), "/etc/resolv.conf")];
        let running = start(&mut program_with_files(&namespace, &files, &["nobody.test"]));
        resolver.recv(&mut [0; 512]).unwrap();
        let outcome = end_by(signal, running);

        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(status), ""), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains("interrupted"), "{outcome:?}");
    }
}

/// What the program can be asked for that it writes to standard output.
const WRITES: [&[&str]; 7] = [
    &["-q1", "-Q0", "127.0.0.1"],
    &["-q1", "-Q0", "--format", "table", "127.0.0.1"],
    &["-q1", "-Q0", "--format", "csv", "127.0.0.1"],
    &["version"],
    &["--help"],
    &["completion", "zsh"],
    &["man"],
];

#[test]
fn a_reader_that_has_seen_enough_is_a_normal_end() {
    let namespace = Namespace::new().unwrap();
    for arguments in WRITES {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(&namespace, arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_in_one_line() {
    let namespace = Namespace::new().unwrap();
    for arguments in WRITES {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = program(&namespace, arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr.starts_with("Error: ") && stderr.contains("No space left"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

/// A program that waits, before it exits, for somebody to read what it has written: the pipe has room for less.
fn blocked_in_writing(chain: &Chain, arguments: &[&str]) -> (Running, PipeReader) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = program(chain.client(), arguments);
    let running = start_with(command.stdout(writer).stderr(Stdio::piped()));
    // The trace is over once something is written, and what is written is longer than a pipe holds.
    reader.read_exact(&mut [0]).unwrap();
    (running, reader)
}

/// Checks that a program could not write all of its result.
fn assert_incomplete(mut reader: PipeReader) {
    let mut written = String::new();
    reader.read_to_string(&mut written).unwrap();
    assert!(
        !written.is_empty() && !written.ends_with("\n}\n"),
        "it was not blocked: {} bytes",
        written.len()
    );
}

#[test]
fn a_signal_ends_a_program_that_nobody_reads_from() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let target = targets(&chain)[0].to_string();
    for (signal, status) in SIGNALS {
        let (running, reader) = blocked_in_writing(&chain, &["-q200", "-Q0", &target]);
        assert_eq!(end_by(signal, running).status, Some(status));
        assert_incomplete(reader);
    }
}

#[test]
fn a_second_signal_ends_what_the_first_did_not() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let target = targets(&chain)[0];
    for (signal, status) in SIGNALS {
        let flows = await_flows(&chain, 202);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = program(chain.client(), &["-q200", &target.to_string()]);
        let mut running = start_with(command.stdout(writer).stderr(Stdio::piped()));
        drop(command);
        let _socket = flows();
        let kill = format!("kill -{signal} {}", running.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        // It says so before it writes what it knows, which is more than the pipe holds.
        let mut said = String::new();
        BufReader::new(running.child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("interrupted"), "{said}");
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(end_by(signal, running).status, Some(status));
        assert_incomplete(reader);
    }
}

#[test]
fn an_interrupted_trace_whose_reader_is_gone_still_ends_as_interrupted() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let third_flow = await_flows(&chain, 3);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program(chain.client(), &["-q1", &targets(&chain)[0].to_string()]);
    let running = start_with(command.stdout(writer).stderr(Stdio::piped()));
    let _socket = third_flow();
    assert_eq!(end_by("INT", running).status, Some(130));
}

#[test]
fn closed_outputs_change_the_status_of_nothing() {
    let namespace = Namespace::new().unwrap();
    for (arguments, status) in WRITES.map(|arguments| (arguments, 0)).into_iter().chain([
        (&["-v", "-q1", "-Q0", "127.0.0.1"][..], 0),
        (&["-p", "abc", "127.0.0.1"], 1),
        (&["203.0.113.9"], 1),
    ]) {
        for closed in [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
            let mut command = namespace.command("sh");
            command.args(["-c", &format!("exec \"$0\" \"$@\" {closed}"), PROGRAM]).args(arguments);
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{arguments:?} {closed}: {output:?}");
        }
    }
}

#[test]
fn a_log_that_nobody_reads_does_not_end_the_trace() {
    let namespace = Namespace::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program(&namespace, &["-v", "-q1", "-Q1", "127.0.0.1"]);
    let output = command.stderr(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.ends_with(b"}\n"));
}
