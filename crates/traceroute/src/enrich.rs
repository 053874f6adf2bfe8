//! What a request says beyond what its probes have learnt: names of addresses, this host's public address,
//! and hops that nobody is to see.
//!
//! It is looked up beside the probing, in tasks that end with the request, and never makes it fail. What is not known when
//! all runs have ended is waited for no longer than its own time-out from when it was asked, and not at all when the
//! request is stopped. Nothing is opened or read before a request asks for it.

mod cache;
mod dns;
mod hosts;
mod https;
mod names;
pub(crate) mod private;
mod public_ip;
mod sockets;
mod socks;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{JoinError, JoinSet};
use traceroute_core::{Hop, Results};
use traceroute_packets::{Network, Queue, Watched};

use self::private::is_private;
use self::sockets::Sockets;
use crate::event::{Events, TraceEvent};
use crate::request::Request;
use crate::resolve::Resolver;
use crate::run::{Phase, reached};

pub use self::cache::{Cache, NameCache, PublicIpCache};
pub use self::https::{Proxy, Trust};
pub(crate) use self::names::Names;
pub use self::names::{LookingUp, LookupError, NameOptions, NameSource, ReverseLookup};
pub(crate) use self::public_ip::PublicIp;
pub use self::public_ip::{PUBLIC_IP_PROVIDERS, PublicIpOptions};

/// What a tracer looks things up with.
#[derive(Debug)]
pub(crate) struct Lookups {
    names: Arc<Names>,
    public_ip: Arc<PublicIp>,
}

impl Lookups {
    pub(crate) fn new(
        network: &Arc<Network>,
        resolver: &Resolver,
        names: NameOptions,
        public_ip: PublicIpOptions,
    ) -> Self {
        let sockets = Sockets::of(network);
        Self {
            names: Arc::new(Names::new(names, sockets.clone())),
            public_ip: Arc::new(PublicIp::new(public_ip, sockets, resolver.clone())),
        }
    }
}

/// What is looked up for one request. Dropping it gives up. Most requests ask for nothing, so that takes no room.
pub(crate) struct Enrichment(Option<Box<Asked>>);

/// What a request asks for.
struct Asked {
    names: Option<NamesAsked>,
    /// The task that finds out the public address.
    public_ip: JoinSet<Result<Ipv4Addr, Arc<String>>>,
    /// Whether private hops need no names.
    skips_private_hops: bool,
}

/// The names of the addresses of one request.
struct NamesAsked {
    names: Arc<Names>,
    events: Arc<Queue<TraceEvent>>,
    state: Mutex<Asking>,
}

#[derive(Default)]
struct Asking {
    /// All addresses so far: each is looked up once in a request.
    asked: HashSet<IpAddr>,
    answers: JoinSet<(IpAddr, Arc<[String]>)>,
}

impl Enrichment {
    /// Begins what needs no address. What is found is told at once.
    pub(crate) fn begin(lookups: &Lookups, request: &Request, events: &Events) -> Self {
        // Without runs there is nothing to name.
        let names = (request.reverse_dns && request.traceroute_queries > 0).then(|| NamesAsked {
            names: Arc::clone(&lookups.names),
            events: events.queue(),
            state: Mutex::default(),
        });
        if names.is_none() && !request.source_public_ip {
            return Self(None);
        }
        let mut public_ip = JoinSet::new();
        if request.source_public_ip {
            let (lookup, events) = (Arc::clone(&lookups.public_ip), events.queue());
            public_ip.spawn(async move {
                let found = lookup.find().await;
                if let Ok(address) = found {
                    events.push(|| TraceEvent::PublicIp { address });
                }
                found
            });
        }
        Self(Some(Box::new(Asked { names, public_ip, skips_private_hops: request.skip_private_hops })))
    }

    /// Begins to look up the names of the destination.
    pub(crate) fn hear_of_destination(&self, address: IpAddr) {
        if let Some(Asked { names: Some(names), .. }) = self.0.as_deref() {
            names.ask(address);
        }
    }

    /// Begins to look up the names of a hop that has answered.
    pub(crate) fn hear_of(&self, hop: &Hop) {
        if let Some(Asked { names: Some(names), skips_private_hops, .. }) = self.0.as_deref()
            && let Some(address) = hop.ip_address
            && !(*skips_private_hops && is_private(address))
        {
            names.ask(address);
        }
    }

    /// Adds to the results what was learnt. Waits for what is still being looked up, unless the request is stopped.
    pub(crate) async fn complete(self, results: &mut Results, phase: &Watched<Phase>) {
        let Some(asked) = self.0 else { return };
        let Asked { names, mut public_ip, .. } = *asked;
        if let Some(asked) = names {
            let names = asked.answers(phase).await;
            let names_of =
                |address: IpAddr| names.get(&address).map(|names| names.to_vec()).unwrap_or_default();
            for run in results.traceroute.runs.iter_mut().flatten() {
                run.destination.reverse_dns = names_of(run.destination.ip_address);
                for hop in &mut run.hops {
                    hop.reverse_dns = hop.ip_address.map(names_of).unwrap_or_default();
                }
            }
        }
        match next(&mut public_ip, phase).await {
            Some(Ok(Ok(address))) => results.source.public_ip = address.to_string(),
            Some(Ok(Err(reason))) => results.warnings.push(format!("no public address: {reason}")),
            Some(Err(_)) | None => {}
        }
    }
}

/// What the next task has come to; `None` if there is none any more, or the request is stopped and none has ended.
async fn next<T: 'static>(tasks: &mut JoinSet<T>, phase: &Watched<Phase>) -> Option<Result<T, JoinError>> {
    tokio::select! {
        biased;
        ended = tasks.join_next() => ended,
        () = reached(phase, Phase::Stopped) => None,
    }
}

impl NamesAsked {
    fn ask(&self, address: IpAddr) {
        let Asking { asked, answers } = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.insert(address) {
            let (lookup, events) = (Arc::clone(&self.names), Arc::clone(&self.events));
            answers.spawn(async move {
                let names = lookup.of(address).await;
                if !names.is_empty() {
                    events.push(|| TraceEvent::Named { address, names: names.to_vec() });
                }
                (address, names)
            });
        }
    }

    /// All answers; those there are already if the request is stopped.
    async fn answers(self, phase: &Watched<Phase>) -> HashMap<IpAddr, Arc<[String]>> {
        let mut answers = self.state.into_inner().unwrap_or_else(PoisonError::into_inner).answers;
        let mut known = HashMap::new();
        while let Some(answer) = next(&mut answers, phase).await {
            // A source of names that panics has none.
            known.extend(answer);
        }
        known
    }
}
