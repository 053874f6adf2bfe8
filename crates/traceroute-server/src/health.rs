//! Whether the service is there.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the reference says of itself.
#[derive(Serialize)]
pub(crate) struct Health {
    status: &'static str,
    timestamp: String,
    uptime: String,
}

impl Health {
    /// Now, `uptime` after the start.
    pub(crate) fn now(uptime: Duration) -> Self {
        let now = OffsetDateTime::now_utc().truncate_to_second();
        Self {
            status: "healthy",
            // A year of four digits can be written.
            timestamp: now.format(&Rfc3339).unwrap_or_default(),
            uptime: as_go_writes(uptime),
        }
    }
}

/// A duration as Go prints it: `604.260433ms`, `1.014654017s`, `26h0m3.5s`.
fn as_go_writes(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        ..1 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(nanos, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 6)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `nanos` divided by 10 to the power of `digits`, without zeros at the end.
fn decimal(nanos: u128, digits: u32) -> String {
    let unit = 10_u128.pow(digits);
    let width = usize::try_from(digits).unwrap_or_default();
    let fraction = format!("{:0width$}", nanos % unit);
    let text = format!("{}.{}", nanos / unit, fraction.trim_end_matches('0'));
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_as_gos_do() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (604_260_433, "604.260433ms"),
            (1_014_654_017, "1.014654017s"),
            (10_000_000_000, "10s"),
            (60_000_000_000, "1m0s"),
            (62_500_000_000, "1m2.5s"),
            (245_000_000_000, "4m5s"),
            (93_603_500_000_000, "26h0m3.5s"),
            (18_367_001_000_000, "5h6m7.001s"),
        ] {
            assert_eq!(as_go_writes(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn the_time_is_in_whole_seconds_of_utc() {
        let health = Health::now(Duration::ZERO);
        let form = |(place, byte): (usize, u8)| match place {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        };
        assert!(health.timestamp.bytes().enumerate().all(form), "{}", health.timestamp);
        assert_eq!(health.timestamp.len(), 20);
    }
}
