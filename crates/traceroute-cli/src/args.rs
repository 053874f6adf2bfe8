//! The flags, as they are typed.

use clap::{ArgAction, Parser, Subcommand};
use traceroute::parameters::{
    E2E_QUERIES, IPV6, MAX_TTL, Number, PORT, PROTOCOL, REVERSE_DNS, SKIP_PRIVATE_HOPS, SOURCE_PUBLIC_IP,
    Switch, TCP_METHOD, TIMEOUT, TRACEROUTE_QUERIES, WINDOWS_DRIVER,
};
use traceroute::{InvalidRequest, Request};

/// What was typed.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Clone, Debug, Parser)]
#[command(
    name = "datadog-traceroute",
    about = "Traces the network path to a target and measures it end to end",
    override_usage = "datadog-traceroute [OPTIONS] TARGET",
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = false,
    max_term_width = 100
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[arg(value_name = "TARGET", help = "Name, IPv4 or IPv6 address, HOST:PORT or [ADDRESS]:PORT")]
    target: Option<String>,
    /// Taken only to be counted.
    #[arg(hide = true)]
    further_targets: Vec<String>,
    #[arg(short = 'P', long = "proto", value_name = "PROTOCOL", help = PROTOCOL.meaning,
          default_value = PROTOCOL.default)]
    protocol: String,
    #[arg(short, long, value_name = "PORT", help = PORT.meaning, default_value_t = PORT.default,
          allow_negative_numbers = true, value_parser = number(&PORT))]
    port: i64,
    #[arg(short = 'q', long, value_name = "N", help = TRACEROUTE_QUERIES.meaning,
          default_value_t = TRACEROUTE_QUERIES.default, allow_negative_numbers = true,
          value_parser = number(&TRACEROUTE_QUERIES))]
    traceroute_queries: i64,
    #[arg(short = 'Q', long, value_name = "N", help = E2E_QUERIES.meaning, default_value_t = E2E_QUERIES.default,
          allow_negative_numbers = true, value_parser = number(&E2E_QUERIES))]
    e2e_queries: i64,
    #[arg(short, long, value_name = "TTL", help = MAX_TTL.meaning, default_value_t = MAX_TTL.default,
          allow_negative_numbers = true, value_parser = number(&MAX_TTL))]
    max_ttl: i64,
    #[arg(long, value_name = "MS", help = TIMEOUT.meaning, default_value_t = TIMEOUT.default,
          allow_negative_numbers = true, value_parser = number(&TIMEOUT))]
    timeout: i64,
    #[arg(long, value_name = "METHOD", help = TCP_METHOD.meaning, default_value = TCP_METHOD.default)]
    tcp_method: String,
    #[arg(long, help = IPV6.meaning, value_parser = switch(&IPV6), num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    ipv6: bool,
    #[arg(long, help = REVERSE_DNS.meaning, value_parser = switch(&REVERSE_DNS), num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL",
          action = ArgAction::Set)]
    reverse_dns: bool,
    #[arg(long, help = SOURCE_PUBLIC_IP.meaning, value_parser = switch(&SOURCE_PUBLIC_IP), num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL",
          action = ArgAction::Set)]
    source_public_ip: bool,
    #[arg(long, help = SKIP_PRIVATE_HOPS.meaning, value_parser = switch(&SKIP_PRIVATE_HOPS), num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL",
          action = ArgAction::Set)]
    skip_private_hops: bool,
    #[arg(long, help = WINDOWS_DRIVER.meaning, value_parser = switch(&WINDOWS_DRIVER), num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL",
          action = ArgAction::Set)]
    windows_driver: bool,
    #[arg(short, long, help = VERBOSE.meaning, value_parser = switch(&VERBOSE), num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL",
          action = ArgAction::Set)]
    pub(crate) verbose: bool,
}

/// What else the program does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Print version, commit and build date
    Version,
    /// Write a completion script for a shell (not in this version)
    Completion {
        /// bash, zsh, fish or powershell
        shell: Option<String>,
    },
}

/// The log is no part of a request.
const VERBOSE: Switch = Switch { name: "verbose", meaning: "Log every step on standard error" };

fn number(number: &'static Number) -> impl Fn(&str) -> Result<i64, InvalidRequest> + Clone {
    |text| number.parse(text)
}

fn switch(switch: &'static Switch) -> impl Fn(&str) -> Result<bool, InvalidRequest> + Clone {
    |text| switch.parse(text)
}

impl Args {
    /// What was meant.
    pub(crate) fn request(&self) -> Result<Request, String> {
        let Some(target) = &self.target else {
            return Err("no target: give a name or an address, as in `datadog-traceroute 192.0.2.1`".into());
        };
        if !self.further_targets.is_empty() {
            return Err(format!("one target is allowed, {} were given", self.further_targets.len() + 1));
        }
        self.build(target).map_err(|error| error.to_string())
    }

    fn build(&self, target: &str) -> Result<Request, InvalidRequest> {
        Request::builder(target)
            .protocol(PROTOCOL.parse(&self.protocol)?)
            .tcp_method(TCP_METHOD.parse(&self.tcp_method)?)
            .port(self.port)
            .traceroute_queries(self.traceroute_queries)
            .e2e_queries(self.e2e_queries)
            .max_ttl(self.max_ttl)
            .timeout_ms(self.timeout)
            .ipv6(self.ipv6)
            .reverse_dns(self.reverse_dns)
            .source_public_ip(self.source_public_ip)
            .skip_private_hops(self.skip_private_hops)
            .build()
    }
}
