//! The flags, as they are typed: the one definition, of which help, completions and man page are made.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::num::NonZeroU16;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use traceroute::parameters::{
    self, DSCP, E2E_INTERVAL, E2E_QUERIES, FIRST_TTL, INTERFACE, IPV6, MAX_TTL, NO_E2E, Number, PORT,
    PROTOCOL, REVERSE_DNS, SEND_DELAY, SIZE, SKIP_PRIVATE_HOPS, SOURCE, SOURCE_PORT, SOURCE_PUBLIC_IP,
    Switch, TARGET, TCP_METHOD, TIMEOUT, TOS, TRACEROUTE_QUERIES, WAIT, WINDOWS_DRIVER,
};
use traceroute::{
    Error, Family, InvalidRequest, Protocol, Request, Results, Tracer, TracerBuilder, TracerouteError,
};

/// What the flags are about; help and man page have a section for each.
pub(crate) mod heading {
    pub(crate) const PROBES: &str = "Probes";
    pub(crate) const PATH: &str = "Path";
    pub(crate) const END_TO_END: &str = "End-to-end probes";
    pub(crate) const NAMES: &str = "Names and addresses";
    pub(crate) const OUTPUT: &str = "Output";
}

const LONG_ABOUT: &str = "\
Traces the network path to a target and measures it end to end.

Several runs start together, each on a flow of its own, and share what they learn: where they differ, packets are spread over \
several paths. Beside them end-to-end probes, up to a second apart, measure loss, round trip and jitter.";

/// What was typed.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Clone, Debug, Parser)]
#[command(
    name = "datadog-traceroute",
    about = "Traces the network path to a target and measures it end to end",
    long_about = LONG_ABOUT,
    override_usage = "datadog-traceroute [OPTIONS] TARGET",
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = false,
    disable_help_flag = true,
    max_term_width = 80,
    after_help = "--help says more, with examples; `man` prints the manual page.",
    after_long_help = crate::examples::listed()
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(value_name = "TARGET", help_heading = heading::PATH,
          help = "Name, address, HOST:PORT or [ADDRESS]:PORT",
          long_help = TARGET.meaning)]
    target: Option<String>,
    /// Taken only to be counted.
    #[arg(hide = true)]
    further_targets: Vec<String>,

    #[arg(short = 'q', long, value_name = "N", help_heading = heading::PATH, help = "Runs, 0 to 1000, side by side", long_help = TRACEROUTE_QUERIES.meaning,
          default_value_t = TRACEROUTE_QUERIES.default, allow_negative_numbers = true,
          value_parser = number(&TRACEROUTE_QUERIES))]
    traceroute_queries: i64,
    #[arg(short, long, value_name = "TTL", help_heading = heading::PATH, help = "First TTL probed",
          long_help = FIRST_TTL.meaning, default_value_t = FIRST_TTL.default, allow_negative_numbers = true,
          value_parser = number(&FIRST_TTL))]
    first_ttl: i64,
    #[arg(short, long, value_name = "TTL", help_heading = heading::PATH, help = MAX_TTL.meaning,
          default_value_t = MAX_TTL.default, allow_negative_numbers = true, value_parser = number(&MAX_TTL))]
    max_ttl: i64,
    #[arg(long, value_name = "MS", help_heading = heading::PATH,
          help = "Longest wait for an answer in ms", long_help = TIMEOUT.meaning,
          default_value_t = TIMEOUT.default, allow_negative_numbers = true, value_parser = number(&TIMEOUT))]
    timeout: i64,
    #[arg(long, value_name = "HOW", help_heading = heading::PATH, help = "adaptive or full patience",
          long_help = WAIT.meaning, default_value = WAIT.default, value_parser = WAITS, hide_possible_values = true)]
    wait: String,
    #[arg(long, value_name = "MS", help_heading = heading::PATH, hide_short_help = true, help = SEND_DELAY.meaning, long_help = SEND_DELAY.meaning,
          default_value_t = SEND_DELAY.default, allow_negative_numbers = true, value_parser = number(&SEND_DELAY))]
    send_delay: i64,

    #[arg(short = 'P', long = "proto", value_name = "PROTOCOL", help_heading = heading::PROBES,
          help = "udp, icmp or tcp", long_help = PROTOCOL.meaning, default_value = PROTOCOL.default, value_parser = PROTOCOLS,
          hide_possible_values = true)]
    protocol: String,
    #[arg(short, long, value_name = "PORT", help_heading = heading::PROBES,
          help = "Destination port", long_help = PORT.meaning,
          default_value_t = PORT.default, allow_negative_numbers = true, value_parser = number(&PORT))]
    port: i64,
    #[arg(long, value_name = "METHOD", help_heading = heading::PROBES, help = "syn, sack or prefer_sack",
          long_help = TCP_METHOD.meaning, default_value = TCP_METHOD.default, value_parser = TCP_METHODS,
          hide_possible_values = true)]
    tcp_method: String,
    #[arg(long, help_heading = heading::PROBES, help = "Use the Agent's driver on Windows",
          long_help = WINDOWS_DRIVER.meaning, value_parser = switch(&WINDOWS_DRIVER), num_args = 0..=1,
          require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    windows_driver: bool,
    #[arg(short, long, value_name = "ADDRESS", help_heading = heading::PROBES, help = "Send from this address",
          long_help = SOURCE.meaning, value_parser = parameters::source)]
    source: Option<IpAddr>,
    #[arg(short, long, value_name = "NAME", help_heading = heading::PROBES, help = "Send through this interface",
          long_help = INTERFACE.meaning)]
    interface: Option<String>,
    #[arg(long, value_name = "PORT", help_heading = heading::PROBES, hide_short_help = true,
          help = SOURCE_PORT.meaning, long_help = SOURCE_PORT.meaning, default_value_t = SOURCE_PORT.default, allow_negative_numbers = true,
          value_parser = in_range(&SOURCE_PORT))]
    source_port: i64,
    #[arg(long, value_name = "N", help_heading = heading::PROBES, help = "Type of service, 0 to 255",
          long_help = TOS.meaning, default_value_t = TOS.default, allow_negative_numbers = true,
          value_parser = number(&TOS), overrides_with = "dscp")]
    tos: i64,
    #[arg(long, value_name = "N", help_heading = heading::PROBES, hide_short_help = true, help = DSCP.meaning, long_help = DSCP.meaning,
          allow_negative_numbers = true, value_parser = number(&DSCP), overrides_with = "tos")]
    dscp: Option<i64>,
    #[arg(long, value_name = "BYTES", help_heading = heading::PROBES, help = "Length of the datagrams",
          long_help = SIZE.meaning, default_value_t = SIZE.default, allow_negative_numbers = true,
          value_parser = number(&SIZE))]
    size: i64,

    #[arg(short = 'Q', long, value_name = "N", help_heading = heading::END_TO_END,
          help = "Probes of the whole way, 0 to 10000", long_help = E2E_QUERIES.meaning,
          default_value_t = E2E_QUERIES.default, allow_negative_numbers = true,
          value_parser = number(&E2E_QUERIES))]
    e2e_queries: i64,
    #[arg(long, value_name = "MS", help_heading = heading::END_TO_END, help = "Time between them, 0 spreads them",
          long_help = E2E_INTERVAL.meaning, default_value_t = E2E_INTERVAL.default, allow_negative_numbers = true,
          value_parser = number(&E2E_INTERVAL))]
    e2e_interval: i64,
    #[arg(long, help_heading = heading::END_TO_END, help = "Only the path, as --e2e-queries 0",
          long_help = format!("{}; of the two the last counts", NO_E2E.meaning),
          overrides_with = "e2e_queries")]
    no_e2e: bool,

    #[arg(short = '4', help_heading = heading::NAMES, help = "Trace over IPv4 only",
          long_help = "Trace over IPv4 only; of -4 and -6 the last counts, and both count more than --ipv6", overrides_with = "only_ipv6")]
    only_ipv4: bool,
    #[arg(short = '6', help_heading = heading::NAMES, help = "Trace over IPv6 only",
          long_help = "Trace over IPv6 only; of -4 and -6 the last counts, and both count more than --ipv6", overrides_with = "only_ipv4")]
    only_ipv6: bool,
    #[arg(long, help_heading = heading::NAMES, help = "Resolve a name to an IPv6 address", long_help = IPV6.meaning, value_parser = switch(&IPV6), num_args = 0..=1,
          require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    ipv6: bool,
    #[arg(long, help_heading = heading::NAMES, help = "Look up the names of hops", long_help = REVERSE_DNS.meaning, value_parser = switch(&REVERSE_DNS),
          num_args = 0..=1, require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    reverse_dns: bool,
    #[arg(long, help_heading = heading::NAMES, help = "Look up this host's public address", long_help = SOURCE_PUBLIC_IP.meaning,
          value_parser = switch(&SOURCE_PUBLIC_IP), num_args = 0..=1, require_equals = true,
          default_value = "false", hide_default_value = true, default_missing_value = "true",
          value_name = "BOOL", action = ArgAction::Set)]
    source_public_ip: bool,
    #[arg(long, help_heading = heading::NAMES, help = "Blank hops with private addresses", long_help = SKIP_PRIVATE_HOPS.meaning,
          value_parser = switch(&SKIP_PRIVATE_HOPS), num_args = 0..=1, require_equals = true,
          default_value = "false", hide_default_value = true, default_missing_value = "true",
          value_name = "BOOL", action = ArgAction::Set)]
    skip_private_hops: bool,

    #[arg(long, value_name = "FORMAT", help_heading = heading::OUTPUT, default_value = "auto",
          help = "auto, json, table or csv", value_parser = FORMATS.try_map(format), hide_possible_values = true,
          long_help = "How the result is written: json, the reference's; table, for people; csv, a row for each run and \
                       hop; auto, a table where standard output is a terminal and JSON where it is not",
          overrides_with = "json")]
    format: Format,
    #[arg(long, help_heading = heading::OUTPUT, help = JSON.meaning, value_parser = switch(&JSON), num_args = 0..=1,
          require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set, overrides_with = "format")]
    json: bool,
    #[arg(short, long, help_heading = heading::OUTPUT, help = VERBOSE.meaning, value_parser = switch(&VERBOSE),
          num_args = 0..=1, require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) verbose: bool,
    #[arg(short = 'V', long, help_heading = heading::OUTPUT, hide_short_help = true,
          help = "Print version, commit and date of the source", long_help = "Print version, commit and date of the source")]
    version: bool,
    #[arg(short, long, help_heading = heading::OUTPUT, action = ArgAction::Help, global = true,
          help = "Print help: -h briefly, --help in full")]
    help: Option<bool>,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table on a terminal, JSON elsewhere.
    Auto,
    Json,
    Table,
    Csv,
}

/// What else the program does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Print version, commit and date of the source
    Version,
    /// Print a completion script: bash, zsh, fish, powershell or elvish
    Completion {
        #[arg(value_name = "SHELL", help = SHELL_WORDS, hide_possible_values = true,
              value_parser = SHELLS.try_map(shell))]
        shell: Shell,
    },
    /// Print the manual page, as in `datadog-traceroute man | man -l -`
    Man,
}

/// Log and format are no part of a request.
const VERBOSE: Switch = Switch { name: "verbose", meaning: "Log every step on standard error" };
const JSON: Switch = Switch { name: "json", meaning: "The same as --format json" };

const FORMATS: Words = Words(|| vec!["auto", "json", "table", "csv"]);
const PROTOCOLS: Words = Words(|| PROTOCOL.words());
const WAITS: Words = Words(|| WAIT.words());
const TCP_METHODS: Words = Words(|| TCP_METHOD.words());
const SHELLS: Words = Words(|| vec!["bash", "zsh", "fish", "powershell", "elvish"]);
pub(crate) const SHELL_WORDS: &str = "bash, zsh, fish, powershell or elvish";

/// Text for which completions offer some words. Whether it is one of them is checked elsewhere.
#[derive(Clone, Copy, Debug)]
struct Words(fn() -> Vec<&'static str>);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

fn format(text: String) -> Result<Format, InvalidRequest> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(Format::Auto),
        "json" => Ok(Format::Json),
        "table" => Ok(Format::Table),
        "csv" => Ok(Format::Csv),
        _ => Err(InvalidRequest::UnknownValue {
            name: "format",
            given: text,
            allowed: "auto, json, table and csv",
        }),
    }
}

fn shell(text: String) -> Result<Shell, InvalidRequest> {
    Shell::from_str(&text, true).map_err(|_| InvalidRequest::UnknownValue {
        name: "shell",
        given: text,
        allowed: "bash, zsh, fish, powershell and elvish",
    })
}

fn number(number: &'static Number) -> impl Fn(&str) -> Result<i64, InvalidRequest> + Clone {
    |text| number.parse(text)
}

/// Reads a number that is no part of a request, which checks its own.
fn in_range(number: &'static Number) -> impl Fn(&str) -> Result<i64, InvalidRequest> + Clone {
    |text| number.check(number.parse(text)?)
}

fn switch(switch: &'static Switch) -> impl Fn(&str) -> Result<bool, InvalidRequest> + Clone {
    |text| switch.parse(text)
}

impl Args {
    /// How the result is to be written.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// What to do instead of tracing, if anything.
    pub(crate) fn wanted(&self) -> Option<Command> {
        if self.version { Some(Command::Version) } else { self.command.clone() }
    }

    /// What to trace, if it was given.
    pub(crate) fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// What was meant.
    pub(crate) fn request(&self) -> Result<Request, String> {
        let Some(target) = self.target() else {
            return Err("no target: give a name or an address, as in `datadog-traceroute 192.0.2.1`".into());
        };
        if !self.further_targets.is_empty() {
            return Err(format!(
                "one target is allowed, {} were given: trace one after the other",
                self.further_targets.len() + 1
            ));
        }
        let request = self.build(target).map_err(|error| error.to_string())?;
        self.check_source_port(&request).map_err(|error| error.to_string())?;
        Ok(request)
    }

    /// Local ports are the tracer's, of which a request knows nothing.
    fn check_source_port(&self, request: &Request) -> Result<(), InvalidRequest> {
        let (first, runs) = (self.source_port, i64::from(request.traceroute_queries()));
        let why = if first == SOURCE_PORT.default {
            return Ok(());
        } else if request.protocol() == Protocol::Icmp {
            "icmp probes have no ports: use udp or tcp".into()
        } else if first + runs - 1 > SOURCE_PORT.max {
            format!("{runs} runs need as many ports: begin with {} or less", SOURCE_PORT.max - runs + 1)
        } else {
            return Ok(());
        };
        Err(InvalidRequest::Contradiction { what: format!("{} {first}", SOURCE_PORT.name), why })
    }

    /// What to say if runs do not have the local ports that were asked for, each one of its own.
    pub(crate) fn other_ports(&self, results: &Results) -> Option<String> {
        let (first, last) = (self.source_port, self.source_port + self.traceroute_queries - 1);
        let mut ports: Vec<u16> =
            results.traceroute.runs.iter().flatten().map(|run| run.source.port).collect();
        let runs = ports.len();
        ports.sort_unstable();
        ports.dedup();
        let asked_for = |port: &u16| (first..=last).contains(&i64::from(*port));
        if first == SOURCE_PORT.default || (ports.len() == runs && ports.iter().all(asked_for)) {
            return None;
        }
        let among = match ports.as_slice() {
            [port] => format!("{port} alone"),
            [first, .., last] => format!("{} from {first} to {last}", ports.len()),
            [] => return None,
        };
        Some(format!("not every local port from {first} to {last} was free: the runs had {among}"))
    }

    /// What to do about an error that follows from the local ports that were asked for.
    pub(crate) fn advice_on_ports(&self, error: &Error) -> Option<String> {
        let exhausted = match error {
            Error::AllRunsFailed(errors) => {
                errors.iter().any(|error| matches!(error, TracerouteError::IdentitiesExhausted { .. }))
            }
            _ => false,
        };
        (exhausted && self.source_port != SOURCE_PORT.default).then(|| {
            format!(
                "there are no more ports from --source-port {} on: begin lower; {}",
                self.source_port,
                crate::system::PORTS
            )
        })
    }

    fn build(&self, target: &str) -> Result<Request, InvalidRequest> {
        let mut builder = Request::builder(target)
            .protocol(PROTOCOL.parse(&self.protocol)?)
            .tcp_method(TCP_METHOD.parse(&self.tcp_method)?)
            .port(self.port)
            .traceroute_queries(self.traceroute_queries)
            .e2e_queries(if self.no_e2e { 0 } else { self.e2e_queries })
            .e2e_interval_ms(self.e2e_interval)
            .first_ttl(self.first_ttl)
            .max_ttl(self.max_ttl)
            .timeout_ms(self.timeout)
            .wait(WAIT.parse(&self.wait)?)
            .send_delay_ms(self.send_delay)
            .tos(self.tos)
            .size(self.size)
            .ipv6(self.ipv6)
            .reverse_dns(self.reverse_dns)
            .source_public_ip(self.source_public_ip)
            .skip_private_hops(self.skip_private_hops)
            .windows_driver(self.windows_driver);
        if self.only_ipv4 {
            builder = builder.family(Family::V4);
        } else if self.only_ipv6 {
            builder = builder.family(Family::V6);
        }
        if let Some(dscp) = self.dscp {
            builder = builder.dscp(dscp);
        }
        if let Some(source) = self.source {
            builder = builder.source(source);
        }
        if let Some(interface) = &self.interface {
            builder = builder.interface(interface);
        }
        builder.build()
    }

    /// The tracer that carries requests out.
    pub(crate) fn tracer(&self) -> TracerBuilder {
        let builder = Tracer::builder();
        match u16::try_from(self.source_port).ok().and_then(NonZeroU16::new) {
            Some(port) => builder.first_port(port),
            None => builder,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// As its help names it, at the beginning of a line.
    fn names(flag: &Arg) -> String {
        let short = flag.get_short().map(|short| format!("-{short}"));
        let long = flag.get_long().map(|long| format!("--{long}"));
        match (short, long) {
            (Some(short), Some(long)) => format!("{short}, {long}"),
            (short, long) => short.or(long).expect("a flag has a name"),
        }
    }

    /// Whether a line of a help begins with a flag.
    fn is_in(help: &str, flag: &Arg) -> bool {
        let lines = help.lines().filter_map(|line| line.trim_start().strip_prefix(&names(flag)));
        lines.into_iter().any(|rest| rest.is_empty() || rest.starts_with([' ', '[']))
    }

    #[test]
    fn help_names_every_flag_and_the_brief_one_all_but_the_rare_ones() {
        let mut command = Args::command();
        command.build();
        let (full, brief) = (command.render_long_help().to_string(), command.render_help().to_string());
        let flags: Vec<&Arg> = command.get_arguments().filter(|flag| !flag.is_positional()).collect();
        for flag in &flags {
            assert!(is_in(&full, flag), "{flag} is not in {full}");
        }
        let rare: Vec<_> =
            flags.iter().filter(|flag| !is_in(&brief, flag)).filter_map(|flag| flag.get_long()).collect();
        assert_eq!(rare, ["send-delay", "source-port", "dscp", "version"], "{brief}");
    }
}
