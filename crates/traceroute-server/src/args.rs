//! The flags, each of which an environment variable stands for, too.

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use traceroute::parameters::WINDOWS_DRIVER;
use traceroute::{Limits, Tracer, TracerBuilder};
use traceroute_server::{Connections, Options, Policy, Rule, Token};
use tracing::Level;

use crate::log::Log;

/// What the flags are about; help has a section for each.
mod heading {
    pub(super) const SERVICE: &str = "Service";
    pub(super) const LIMITS: &str = "Limits";
    pub(super) const ACCESS: &str = "Access";
}

/// Others that `Level` would take are numbers.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What the names of environment variables begin with.
const PREFIX: &str = "DATADOG_TRACEROUTE_";

/// The name of the token itself in the environment: on a command line everybody could read it.
const TOKEN: &str = "DATADOG_TRACEROUTE_TOKEN";

/// What was typed, or stands in the environment.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "datadog-traceroute-server",
    version = env!("VERSION"),
    about = "Traces network paths for those who ask over HTTP",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 80,
    after_help = "\
Each flag may be given as an environment variable, too: DATADOG_TRACEROUTE_ and its name in capitals, as \
DATADOG_TRACEROUTE_MAX_CONCURRENT=16; the flag counts if both are given. The token itself may stand in DATADOG_TRACEROUTE_TOKEN, instead of --token-file."
)]
pub(crate) struct Args {
    /// Address to listen at; without a host all of both families
    #[arg(short, long, value_name = "HOST:PORT", default_value = ":3765", help_heading = heading::SERVICE)]
    addr: String,
    /// What is logged: error, warn, info, debug or trace
    #[arg(short, long, value_name = "LEVEL", default_value = "info", help_heading = heading::SERVICE, ignore_case = true, hide_possible_values = true,
          value_parser = PossibleValuesParser::new(LEVELS).try_map(|level| level.parse::<Level>()))]
    log_level: Level,
    /// How it is logged: text, or json, an object a line
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = heading::SERVICE, ignore_case = true, hide_possible_values = true)]
    log_format: LogFormat,
    #[arg(long, help_heading = heading::SERVICE, help = WINDOWS_DRIVER.meaning, num_args = 0..=1,
          require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set,
          value_parser = |text: &str| WINDOWS_DRIVER.parse(text))]
    windows_driver: bool,
    /// After SIGTERM requests may go on for so long
    #[arg(long, value_name = "MS", default_value_t = 30_000, help_heading = heading::SERVICE, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    shutdown_timeout: u32,
    /// Print version, commit and date of the source
    #[arg(short = 'V', long, help_heading = heading::SERVICE, action = ArgAction::Version)]
    version: Option<bool>,
    /// Print help
    #[arg(short, long, help_heading = heading::SERVICE, action = ArgAction::Help)]
    help: Option<bool>,

    /// Requests carried out at one time
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_concurrent: u32,
    /// Requests that wait for others to end
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    max_queued: u32,
    /// How long each of them waits
    #[arg(long, value_name = "MS", default_value_t = 10_000, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    max_queue_wait: u32,
    /// Requests of one client at one time, those that wait included; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = heading::LIMITS,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    max_per_client: u32,
    /// How long a request may go on; then what it has learnt is its answer
    #[arg(long, value_name = "MS", default_value_t = 3_600_000, help_heading = heading::LIMITS,
          value_parser = clap::value_parser!(u32).range(1..=86_400_000))]
    max_duration: u32,
    /// Requests a minute from one client; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(0..=6_000_000))]
    client_rate: u32,
    /// Requests a minute for one target address; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(0..=6_000_000))]
    target_rate: u32,
    /// Probes a second of all requests together; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    probe_rate: u32,
    /// Connections at one time; half of `ulimit -n` at most, where there is one
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// How long a client may take over the head of a request, or over none
    #[arg(long, value_name = "MS", default_value_t = 10_000, help_heading = heading::LIMITS, value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    header_timeout: u32,

    #[arg(long, help = "Trace only such targets: 10.0.0.0/8, [2001:db8::/32]:443, *:1-1023", value_name = "RULE", value_delimiter = ',', help_heading = heading::ACCESS, action = ArgAction::Append)]
    allow: Vec<Rule>,
    /// Trace no such targets, though they be allowed
    #[arg(long, value_name = "RULE", value_delimiter = ',', help_heading = heading::ACCESS, action = ArgAction::Append)]
    deny: Vec<Rule>,
    /// Trace link-local addresses and those of cloud metadata services
    #[arg(long, help_heading = heading::ACCESS, num_args = 0..=1,
          require_equals = true, default_value = "false", hide_default_value = true,
          default_missing_value = "true", value_name = "BOOL", action = ArgAction::Set, hide_possible_values = true)]
    no_default_deny: bool,
    /// File with the bearer token that clients have to show
    #[arg(long, value_name = "PATH", help_heading = heading::ACCESS)]
    token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// What was meant.
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) log: Log,
    pub(crate) options: Options,
    pub(crate) connections: Connections,
    pub(crate) tracer: TracerBuilder,
}

/// The flags, each with its environment variable.
fn command() -> Command {
    Args::command().mut_args(|flag| match (flag.get_action(), flag.get_long()) {
        (ArgAction::Help | ArgAction::Version, _) | (_, None) => flag,
        (_, Some(name)) => {
            let variable = format!("{PREFIX}{}", name.replace('-', "_").to_uppercase());
            flag.env(variable).hide_env(true)
        }
    })
}

/// Those of the names of environment variables that look like one of ours and are none. Kubernetes tells of a service of our name
/// by variables of the same form, which are not meant.
pub(crate) fn unknown_variables(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let command = command();
    let is_known = |name: &str| {
        name == TOKEN || command.get_arguments().any(|flag| flag.get_env() == Some(name.as_ref()))
    };
    let of_kubernetes = |name: &str| {
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        rest == "PORT"
            || rest.ends_with("_PORT")
            || ["SERVICE_HOST", "SERVICE_PORT", "PORT_"].iter().any(|form| rest.contains(form))
    };
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    names.filter(|name| name.starts_with(PREFIX) && !is_known(name) && !of_kubernetes(name)).collect()
}

impl Args {
    /// Reads a command line, and the environment.
    pub(crate) fn read(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(line)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
    }

    pub(crate) fn settings(self) -> Result<Settings, String> {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Settings {
            log: Log { level: self.log_level, json: self.log_format == LogFormat::Json },
            options: Options {
                token: token(self.token_file, std::env::var_os(TOKEN).map(OsString::into_string))?,
                policy: Policy {
                    allow: self.allow,
                    deny: self.deny,
                    without_default_denials: self.no_default_deny,
                },
                max_concurrent: count(self.max_concurrent),
                max_queued: count(self.max_queued),
                max_queue_wait: ms(self.max_queue_wait),
                max_per_client: count(self.max_per_client),
                max_duration: ms(self.max_duration),
                client_rate: NonZeroU32::new(self.client_rate),
                target_rate: NonZeroU32::new(self.target_rate),
            },
            connections: Connections {
                max: count(self.max_connections),
                header_timeout: ms(self.header_timeout),
                drain: ms(self.shutdown_timeout),
            },
            tracer: Tracer::builder().windows_driver(self.windows_driver).limits(Limits {
                probes_per_second: NonZeroU32::new(self.probe_rate),
                // The service's own limit is exact: the tracer counts those of clients that have gone for a moment longer.
                requests: usize::MAX,
            }),
            address: self.addr,
        })
    }
}

/// The token, of which there is to be one at most.
fn token(file: Option<PathBuf>, variable: Option<Result<String, OsString>>) -> Result<Option<Token>, String> {
    let (text, place) = match (file, variable) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(format!("the token stands in --token-file and in {TOKEN}: give one of them"));
        }
        (Some(file), None) => {
            let place = file.display().to_string();
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("cannot read the token in {place}: {error}"))?;
            (text, place)
        }
        (None, Some(variable)) => (variable.unwrap_or_default(), TOKEN.to_owned()),
    };
    Token::new(&text).map(Some).map_err(|unfit| format!("the token in {place} cannot be used: {unfit}"))
}

/// A mistake in one line.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let said = text.lines().take_while(|line| !line.is_empty() && !line.starts_with("Usage"));
    let said = said.map(|line| line.trim().trim_start_matches("error: ")).collect::<Vec<_>>().join(" ");
    format!("{said}; --help lists what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        let command = command();
        for argument in command
            .get_arguments()
            .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        {
            let flag = argument.get_long().expect("a long flag");
            let variable = format!("DATADOG_TRACEROUTE_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "{flag}");
        }
    }

    #[test]
    fn a_misspelt_variable_is_told_from_others() {
        let names = [
            "DATADOG_TRACEROUTE_MAX_CONCURRENT",
            "DATADOG_TRACEROUTE_MAX_CONCURENT",
            "DATADOG_TRACEROUTE_TOKEN",
            "DATADOG_TRACEROUTE_TOKN_FILE",
            "DATADOG_TRACEROUTE_PORT",
            "DATADOG_TRACEROUTE_PORT_3765_TCP_ADDR",
            "DATADOG_TRACEROUTE_SERVER_PORT",
            "DATADOG_TRACEROUTE_SERVICE_PORT_HTTP",
            "PATH",
        ];
        let unknown = unknown_variables(names.map(OsString::from));
        assert_eq!(unknown, ["DATADOG_TRACEROUTE_MAX_CONCURENT", "DATADOG_TRACEROUTE_TOKN_FILE"]);
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let settings = Args::read(["datadog-traceroute-server"]).expect("valid").settings().expect("valid");
        let (options, defaults) = (settings.options, Options::default());
        assert_eq!(format!("{options:?}"), format!("{defaults:?}"));
        assert_eq!(settings.connections, Connections::default());
        assert_eq!(
            (settings.address.as_str(), settings.log),
            (":3765", Log { level: Level::INFO, json: false })
        );
    }

    #[test]
    fn there_is_one_token_at_most_and_it_can_be_shown() {
        assert!(matches!(token(None, None), Ok(None)));
        assert!(matches!(token(None, Some(Ok("secret\n".into()))), Ok(Some(_))));
        let error = token(None, Some(Ok(String::new()))).expect_err("empty");
        assert!(error.starts_with("the token in DATADOG_TRACEROUTE_TOKEN cannot be used"), "{error}");
        let error = token(Some("/no/such/file".into()), None).expect_err("no file");
        assert!(error.starts_with("cannot read the token in /no/such/file: "), "{error}");
        assert!(token(Some("/no/such/file".into()), Some(Ok("secret".into()))).is_err());
    }

    #[test]
    fn mistakes_are_said_in_a_line() {
        for (arguments, parts) in [
            (&["--max-concurrent", "0"][..], &["0", "--max-concurrent", "1..=100000"][..]),
            (&["--deny", "localhost"], &["localhost", "10.0.0.0/8"]),
            (&["--log-level", "loud"], &["loud", "--log-level"]),
            (&["--nonsense"], &["--nonsense"]),
            (&["argument"], &["argument"]),
        ] {
            let line = [&["datadog-traceroute-server"], arguments].concat();
            let said = one_line(&Args::read(line).expect_err("a mistake"));
            assert!(parts.iter().all(|part| said.contains(part)) && !said.contains('\n'), "{said}");
        }
    }
}
