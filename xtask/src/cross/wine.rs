//! Windows programs, run by Wine.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::crates::{COMMAND, SERVICE};
use crate::failure::Failure;
use crate::process::{output, run};
use crate::trace::Trace;

use super::router::{Network, ROUTER, TARGET};
use super::target::Target;
use super::workshop::Workshop;

/// A program that comes to no end, and says nothing, is ended after five minutes.
const WINE: [&str; 4] = ["timeout", "--kill-after=10", "300", "wine"];
/// What the developer's own commands test is this machine.
const DEVELOPERS: [&str; 3] = ["xtask", "xtask-bench", "xtask-soak"];

fn executable(workshop: &Workshop, program: &str) -> PathBuf {
    workshop.program(Target::Windows, &format!("{program}.exe"))
}

fn prefix(workshop: &Workshop) -> PathBuf {
    workshop.directory.join("wine")
}

/// A command with our Windows, that says nothing of its own and asks for nothing to be installed.
fn in_prefix(workshop: &Workshop, command: &mut Command) {
    command.env("WINEPREFIX", prefix(workshop)).env("WINEARCH", "win64").env("WINEDEBUG", "-all");
    command.env("WINEDLLOVERRIDES", "mscoree,mshtml=").env_remove("DISPLAY");
}

/// Wine, with our Windows.
fn wine(workshop: &Workshop) -> Command {
    let [program, arguments @ ..] = WINE;
    let mut wine = Command::new(program);
    in_prefix(workshop, wine.args(arguments));
    wine
}

/// A Windows of our own, with the library that this Wine lacks.
pub(super) fn make_prefix(workshop: &Workshop) -> Result<(), Failure> {
    let system = prefix(workshop).join("drive_c/windows/system32");
    // Wine writes the registry last.
    if prefix(workshop).join("system.reg").exists() {
        eprintln!("present");
    } else {
        fs::create_dir_all(&workshop.directory)
            .map_err(|error| Failure::CannotWrite { path: workshop.directory.clone(), error })?;
        run(wine(workshop).args(["wineboot", "--init"]))?;
        stop(workshop)?;
    }
    let library = system.join("bcryptprimitives.dll");
    let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
    compiler.args(["-O2", "-shared", "-s", "-o"]).arg(library);
    run(compiler.arg(workshop.source("bcryptprimitives.c")).arg("-ladvapi32"))
}

/// Ends what this Windows runs, so that nothing is left and the next program has all of it inside its own namespace.
fn stop(workshop: &Workshop) -> Result<(), Failure> {
    for action in ["--kill", "--wait"] {
        let mut server = Command::new("wineserver");
        in_prefix(workshop, &mut server);
        // To kill is an error where nothing runs, which is as good.
        server
            .arg(action)
            .stderr(Stdio::null())
            .status()
            .map_err(|error| Failure::CannotStart { program: format!("wineserver {action}"), error })?;
    }
    Ok(())
}

/// All tests that are no programs' and need no Linux.
pub(super) fn test(workshop: &Workshop) -> Result<(), Failure> {
    let mut tests = workshop.cargo(Target::Windows, "test");
    tests.args(["--workspace", "--lib", "--bins", "--tests"]);
    tests.args(DEVELOPERS.iter().flat_map(|name| ["--exclude", name]));
    in_prefix(workshop, &mut tests);
    let passed = run(&mut tests);
    stop(workshop)?;
    passed
}

/// What the programs say of themselves, and what they say of a mistake.
pub(super) fn run_programs(workshop: &Workshop) -> Result<(), Failure> {
    let checked = check_programs(workshop);
    stop(workshop)?;
    checked
}

fn check_programs(workshop: &Workshop) -> Result<(), Failure> {
    for program in [COMMAND, SERVICE] {
        expect_said(workshop, program, &["--version"], 0, program)?;
        expect_said(workshop, program, &["--help"], 0, "Usage: ")?;
        expect_said(workshop, program, &["--nonsense"], 1, "--nonsense")?;
    }
    expect_said(workshop, COMMAND, &["--proto", "nonsense", "127.0.0.1"], 1, "unknown protocol")?;
    // What Wine does not have, many a Windows has not, either.
    for (method, words) in [
        ("--proto udp", "use --proto icmp"),
        ("--proto tcp --tcp-method syn", "use --proto icmp"),
        ("--proto tcp --tcp-method syn_socket", "version 2004 of Windows 10"),
        ("--proto icmp --windows-driver", "install the Datadog Agent"),
    ] {
        let line = format!("{method} --traceroute-queries 1 --e2e-queries 0 127.0.0.1");
        expect_said(workshop, COMMAND, &line.split(' ').collect::<Vec<_>>(), 1, words)?;
    }
    expect_said(workshop, SERVICE, &["--windows-driver"], 1, "install the Datadog Agent")
}

/// Runs a program, which has to end with a status and to say something on the way.
fn expect_said(
    workshop: &Workshop,
    name: &str,
    arguments: &[&str],
    status: i32,
    words: &str,
) -> Result<(), Failure> {
    let mut program = wine(workshop);
    program.arg(executable(workshop, name)).args(arguments).stdin(Stdio::null());
    let shown = format!("{name} {}", arguments.join(" "));
    let ran = program.output().map_err(|error| Failure::CannotStart { program: shown.clone(), error })?;
    let Output { status: ended, stdout, stderr } = ran;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if ended.code() == Some(status) && said.contains(words) {
        eprintln!("{shown}: {status}, {}", said.lines().next().unwrap_or_default());
        return Ok(());
    }
    Err(Failure::Unexpected(format!("{shown} ended with {ended} instead of {status} and `{words}`:\n{said}")))
}

/// A trace that the service carries out.
pub(super) fn serve(workshop: &Workshop) -> Result<(), Failure> {
    let served = ask_the_service(workshop);
    stop(workshop)?;
    served
}

fn ask_the_service(workshop: &Workshop) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Unexpected(format!("the service cannot be asked: {error}"));
    let mut program = wine(workshop);
    program.arg(executable(workshop, SERVICE)).args(["--addr", "127.0.0.1:0"]);
    program.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut service =
        program.spawn().map_err(|error| Failure::CannotStart { program: SERVICE.into(), error })?;
    // The line is there once it listens; when it ends without one, so does its output.
    let log = service.stderr.take().map(BufReader::new);
    let address =
        log.into_iter().flat_map(BufRead::lines).map_while(Result::ok).find_map(|line| listens_at(&line));
    let answer =
        address.map_or_else(|| Ok("it ended".to_owned()), |address| get(address, PATH).map_err(failed));
    service.kill().and_then(|()| service.wait()).map_err(failed)?;
    let answer = answer?;
    let Some((_, body)) = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200 "))
    else {
        return Err(Failure::Unexpected(format!("{SERVICE} did not serve {PATH}: {answer}")));
    };
    Trace::read(body.as_bytes())?.expect_hops(&["127.0.0.1"])?;
    eprintln!("{SERVICE}: served {PATH}");
    Ok(())
}

/// The address in the line that the service writes when it listens.
fn listens_at(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("listening")?.1.split_once("127.0.0.1:")?;
    let digits = address.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(address.len());
    Some(([127, 0, 0, 1], address[..digits].parse().ok()?).into())
}

const PATH: &str = "/traceroute?target=127.0.0.1&protocol=icmp&traceroute-queries=1&e2e-queries=1";

/// What a service says to a request, head and body.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A trace through a network that begins and ends with it. Wine's server makes the sockets of all programs, so that it has to be
/// started inside, too.
pub(super) fn trace(workshop: &Workshop) -> Result<(), Failure> {
    stop(workshop)?;
    let network = Network::make()?;
    let traced = trace_through(workshop, &network);
    stop(workshop)?;
    traced
}

fn trace_through(workshop: &Workshop, network: &Network) -> Result<(), Failure> {
    let [program, arguments @ ..] = WINE;
    let mut program = network.client(program);
    in_prefix(workshop, program.args(arguments));
    program.arg(executable(workshop, COMMAND));
    program.args("--format json --traceroute-queries 1 --e2e-queries 1 --proto icmp".split(' '));
    Trace::read(&output(program.arg(TARGET))?)?.expect_hops(&[ROUTER, TARGET])?;
    eprintln!("icmp: reached {TARGET} through {ROUTER}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_says_where_it_listens() {
        let line = r#"2026-11-26T08:00:00Z  INFO listening address="127.0.0.1:49731" version="0.1.0""#;
        assert_eq!(listens_at(line), Some(([127, 0, 0, 1], 49_731).into()));
        assert_eq!(listens_at("WARN 127.0.0.1:1 is something else"), None);
    }
}
