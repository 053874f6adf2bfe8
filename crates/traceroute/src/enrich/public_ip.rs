//! This host's public address, as services on the Internet see it.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use hyper::Uri;
use tokio::time::timeout;
use tracing::debug;

use super::cache::{Cache, PublicIpCache};
use super::https::{Client, Failure, Proxy, Trust};
use super::sockets::Sockets;
use crate::resolve::Resolver;

/// Those that are asked, in this order.
pub const PUBLIC_IP_PROVIDERS: [&str; 5] = [
    "https://icanhazip.com",
    "https://ipinfo.io/ip",
    "https://checkip.amazonaws.com",
    "https://api.ipify.org",
    "https://whatismyip.akamai.com",
];

/// The pauses before a provider that could not be reached is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// How long an answer may be: an address has 15 characters.
const LONGEST: usize = 1024;

/// How a tracer finds out its public address, for requests that ask for it.
#[derive(Clone, Debug)]
pub struct PublicIpOptions {
    /// The https URLs that are asked over IPv4, one after the other, until one answers with an IPv4 address and nothing else.
    pub providers: Vec<String>,
    /// How long each may take. One that cannot be reached is tried again as long as that.
    pub patience: Duration,
    /// Whose certificates count.
    pub trust: Trust,
    /// What is gone through.
    pub proxy: Proxy,
    /// What is known already.
    pub cache: PublicIpCache,
}

impl Default for PublicIpOptions {
    /// [`PUBLIC_IP_PROVIDERS`] with 2 seconds each, by the system's trust and proxy; the address is kept for two hours.
    fn default() -> Self {
        Self {
            providers: PUBLIC_IP_PROVIDERS.map(str::to_owned).to_vec(),
            patience: Duration::from_secs(2),
            trust: Trust::System,
            proxy: Proxy::System,
            cache: Cache::new(Duration::from_hours(2), 1),
        }
    }
}

/// Finds out the public address.
pub(crate) struct PublicIp {
    options: PublicIpOptions,
    sockets: Sockets,
    resolver: Resolver,
}

impl PublicIp {
    pub(super) const fn new(options: PublicIpOptions, sockets: Sockets, resolver: Resolver) -> Self {
        Self { options, sockets, resolver }
    }

    /// The address, or why there is none.
    pub(super) async fn find(&self) -> Result<Ipv4Addr, Arc<String>> {
        self.options.cache.get((), self.ask()).await
    }

    async fn ask(&self) -> Result<Ipv4Addr, String> {
        let Self { options: PublicIpOptions { providers, patience, trust, proxy, .. }, sockets, resolver } =
            self;
        let (sockets, resolver, trust, proxy) =
            (sockets.clone(), resolver.clone(), trust.clone(), proxy.clone());
        // The system's certificates are read from files.
        let client = tokio::task::spawn_blocking(move || Client::new(sockets, resolver, &trust, &proxy));
        let client = client.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let mut reasons: Vec<String> = Vec::new();
        for provider in providers {
            let reason = match timeout(*patience, ask_one(&client, provider)).await {
                Ok(Ok(address)) => return Ok(address),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} ms", patience.as_millis()),
            };
            debug!(provider, reason, "no address from this provider");
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        Err(format!("none of {} providers told one: {}", providers.len(), reasons.join("; ")))
    }
}

impl fmt::Debug for PublicIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

/// What one provider says; tries again while it cannot be reached.
async fn ask_one(client: &Client, provider: &str) -> Result<Ipv4Addr, Failure> {
    let url: Uri =
        provider.parse().map_err(|error: hyper::http::uri::InvalidUri| Failure::Final(error.into()))?;
    let (first, longest) = PAUSES;
    let pauses = ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times();
    let body = (|| client.get(&url, LONGEST))
        .retry(pauses)
        .when(Failure::is_transport)
        .notify(|error, pause| debug!(provider, %error, ?pause, "trying again"))
        .await?;
    address_in(&body).ok_or_else(|| Failure::Final("the answer is no public IPv4 address".into()))
}

/// The address that a body consists of, white space around it aside. One that cannot be seen on the Internet is a lie.
fn address_in(body: &[u8]) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = std::str::from_utf8(body).ok()?.trim().parse().ok()?;
    let impossible = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast();
    (!impossible).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_address_and_nothing_else() {
        for body in ["203.0.113.7", "203.0.113.7\n", " \r\n\t203.0.113.7 \r\n\r\n"] {
            assert_eq!(address_in(body.as_bytes()), Some(Ipv4Addr::new(203, 0, 113, 7)), "{body:?}");
        }
        for body in [
            "",
            "\n",
            "<html>203.0.113.7</html>",
            "203.0.113.7 203.0.113.8",
            "203.0.113",
            "203.0.113.256",
            "203.0.113.07",
            "2001:db8::7",
            "::ffff:203.0.113.7",
            "\"203.0.113.7\"",
        ] {
            assert_eq!(address_in(body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(address_in(b"203.0.113.7\xff"), None);
    }

    #[test]
    fn what_nobody_can_have_on_the_internet_is_no_answer() {
        for body in
            ["10.0.0.1", "192.168.1.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.0.1"]
        {
            assert_eq!(address_in(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn the_providers_are_asked_over_https() {
        for provider in PUBLIC_IP_PROVIDERS {
            let url: Uri = provider.parse().expect("a URL");
            assert_eq!(url.scheme_str(), Some("https"), "{provider}");
        }
    }
}
