//! Leases: whose turn it is, what holds a port, and what is left behind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};
use traceroute_packets::{
    Blocks, Clock, Connecting, Connection, Connector, Host, Job, Lease, Leases, PortHold, Use,
};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const PATIENCE: Duration = Duration::from_secs(3);

/// A host that notes which ports are held.
#[derive(Default)]
struct Ports {
    held: Arc<Mutex<BTreeSet<u16>>>,
    elsewhere: BTreeSet<u16>,
    error: Option<TracerouteError>,
}

struct Hold {
    port: u16,
    held: Arc<Mutex<BTreeSet<u16>>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        assert!(self.held.lock().expect("not poisoned").remove(&self.port), "a port is let go once");
    }
}

impl Host for Ports {
    fn source_address(
        &self,
        _protocol: Protocol,
        _to: Destination,
        _port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        Ok(SOURCE)
    }

    fn interface_index(&self, _name: &str) -> Result<Option<u32>, TracerouteError> {
        Ok(None)
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        job();
        Ok(())
    }

    fn hold_port(
        &self,
        _protocol: Protocol,
        _source: IpAddr,
        _to: Destination,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError> {
        Ok(self.hold(port)?.map(|hold| -> PortHold { Box::new(hold) }))
    }

    fn open_connector(
        &self,
        _source: IpAddr,
        _to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        Ok(self.hold(port)?.map(|hold| -> Box<dyn Connector> { Box::new(hold) }))
    }
}

impl Ports {
    fn hold(&self, port: u16) -> Result<Option<Hold>, TracerouteError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.elsewhere.contains(&port) {
            return Ok(None);
        }
        assert!(self.held.lock().expect("not poisoned").insert(port), "a port is held once");
        Ok(Some(Hold { port, held: Arc::clone(&self.held) }))
    }
}

impl Connector for Hold {
    fn connect(self: Box<Self>, _to: Destination, _port: u16, _traffic_class: u8) -> Connecting {
        Box::pin(async move { Ok(Box::new(self) as Connection) })
    }
}

fn leases(host: Ports, ports: u16) -> Leases {
    let blocks = Blocks { ports: 61_000..=60_999 + ports, echo_ids: 1..=1, in_order: false };
    let mut bits = 0;
    // The first number decides where the block is entered; nonces only have to differ.
    let entropy = Box::new(move || {
        bits += 0x1_0001;
        bits
    });
    Leases::new(Clock::since(Instant::now()), Arc::new(host), &blocks, entropy)
}

fn target(last: u8) -> Destination {
    Destination::routed([198, 51, 100, last].into())
}

async fn lease(leases: &Leases, last: u8) -> Result<Lease, TracerouteError> {
    leases.lease(Use::Probes(Protocol::Udp), SOURCE, target(last), PATIENCE).await
}

async fn lease_tcp(leases: &Leases, wanted: Use, last: u8) -> Result<Lease, TracerouteError> {
    leases.lease(wanted, SOURCE, target(last), PATIENCE).await
}

const PROBES: Use = Use::Probes(Protocol::Tcp);

#[tokio::test(start_paused = true)]
async fn a_connection_shares_its_port_with_nobody() {
    let leases = leases(Ports::default(), 3);
    let mut connected = lease_tcp(&leases, Use::Connection, 1).await.expect("free");
    // Runs toward other targets take the same ports one after the other, but not this one.
    let others = [lease_tcp(&leases, PROBES, 2).await, lease_tcp(&leases, Use::Connection, 3).await];
    let [probes, other] = others.map(|lease| lease.expect("free").identity().local);
    assert_eq!((connected.identity().local, probes, other), (61_000, 61_001, 61_002));

    let connector = connected.take_connector().expect("lent for a connection");
    assert!(connected.take_connector().is_none(), "only once");
    drop(connector.connect(target(1), 80, 0).await.expect("connected"));
    drop(connected);
    assert_eq!(leases.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_port_of_probes_is_none_for_a_connection() {
    let host = Ports::default();
    let held = Arc::clone(&host.held);
    let leases = leases(host, 1);
    let probes = lease_tcp(&leases, PROBES, 1).await.expect("free");
    let before = Instant::now();
    assert!(lease_tcp(&leases, Use::Connection, 2).await.is_err(), "the only port there is");
    assert_eq!(before.elapsed(), PATIENCE, "it will be returned");
    drop(lease_tcp(&leases, PROBES, 3).await.expect("shared"));
    drop(probes);
    let connected = lease_tcp(&leases, Use::Connection, 2).await.expect("free");
    assert!(lease_tcp(&leases, PROBES, 3).await.is_err());
    // A connection that is never made lets its port go, too.
    drop(connected);
    assert!(held.lock().expect("not poisoned").is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_port_is_served_whatever_the_target_of_its_owner() {
    let leases = leases(Ports::default(), 1);
    let connected = lease_tcp(&leases, Use::Connection, 1).await.expect("free");
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = tokio::task::JoinSet::new();
    for (number, used) in [(2, PROBES), (3, Use::Connection), (4, PROBES)] {
        let (leases, order) = (leases.clone(), Arc::clone(&order));
        waiting.spawn(async move {
            let lease = lease_tcp(&leases, used, number).await;
            order.lock().expect("not poisoned").push(number);
            tokio::time::sleep(Duration::from_millis(100)).await;
            lease.map(drop)
        });
        tokio::task::yield_now().await;
    }
    let wanted = timeout(Duration::ZERO, connected.wanted()).await;
    assert!(wanted.is_ok(), "somebody waits for its port");
    drop(connected);
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    // The second is of another kind than the first, whose port the third shares.
    assert_eq!(*order.lock().expect("not poisoned"), [2, 4, 3]);
    assert_eq!(leases.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn udp_and_tcp_have_the_same_ports() {
    let leases = leases(Ports::default(), 1);
    let udp = lease(&leases, 1).await.expect("free");
    drop(udp);
    let tcp = lease_tcp(&leases, PROBES, 1).await.expect("free");
    assert_eq!(tcp.identity().local, 61_000);
}

#[tokio::test(start_paused = true)]
async fn a_port_is_held_once_for_all_its_targets() {
    let host = Ports::default();
    let held = Arc::clone(&host.held);
    let leases = leases(host, 1);
    let first = lease(&leases, 1).await.expect("free");
    let second = lease(&leases, 2).await.expect("free toward another target");
    assert_eq!(first.identity().local, second.identity().local);
    drop(first);
    assert_eq!(held.lock().expect("not poisoned").len(), 1);
    drop(second);
    assert!(held.lock().expect("not poisoned").is_empty());
    assert_eq!(leases.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_turn() {
    let leases = leases(Ports::default(), 1);
    let first = lease(&leases, 1).await.expect("free");
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..3 {
        let (leases, order) = (leases.clone(), Arc::clone(&order));
        waiting.spawn(async move {
            let lease = lease(&leases, 1).await;
            order.lock().expect("not poisoned").push(number);
            lease.map(drop)
        });
        tokio::task::yield_now().await;
    }
    drop(first);
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    assert_eq!(*order.lock().expect("not poisoned"), [0, 1, 2]);
    assert_eq!(leases.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_with_an_error_that_names_the_limit() {
    let leases = leases(Ports::default(), 2);
    let _held = (lease(&leases, 1).await.expect("free"), lease(&leases, 1).await.expect("free"));
    let before = Instant::now();
    let error = lease(&leases, 1).await.map(drop).expect_err("both are in use");
    assert_eq!(error, TracerouteError::IdentitiesExhausted { target: target(1).address, limit: 2 });
    assert_eq!(before.elapsed(), PATIENCE);
    assert!(lease(&leases, 2).await.is_ok(), "another target does not wait");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_takes_nothing_along() {
    let leases = leases(Ports::default(), 1);
    let first = lease(&leases, 1).await.expect("free");
    {
        // One gives up while it waits, the other after it was served but before it knows.
        let mut gone = pin!(lease(&leases, 1));
        assert!(timeout(Duration::ZERO, gone.as_mut()).await.is_err());
    }
    {
        let mut served = pin!(lease(&leases, 1));
        assert!(timeout(Duration::ZERO, served.as_mut()).await.is_err());
        drop(first);
    }
    assert_eq!(leases.live(), 0);
    assert!(lease(&leases, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_somebody_else_holds_is_passed_over() {
    let host = Ports { elsewhere: [61_000, 61_001].into(), ..Ports::default() };
    let leases = leases(host, 3);
    assert_eq!(lease(&leases, 1).await.expect("one is left").identity().local, 61_002);

    let host = Ports { elsewhere: (61_000..61_003).collect(), ..Ports::default() };
    let held_elsewhere = self::leases(host, 3);
    let before = Instant::now();
    for _ in 0..2 {
        let error = lease(&held_elsewhere, 1).await.map(drop).expect_err("none is left");
        assert_eq!(error, TracerouteError::IdentitiesExhausted { target: target(1).address, limit: 3 });
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody of ours will return one");
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_those_who_wait() {
    let leases = leases(Ports::default(), 1);
    let first = lease(&leases, 1).await.expect("free");
    let mut waiting = pin!(lease(&leases, 1));
    assert!(timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
    drop(first);
    // The identity is on its way to the one who waits, and not to be had.
    let mut newcomer = pin!(lease(&leases, 1));
    assert!(timeout(Duration::ZERO, newcomer.as_mut()).await.is_err());
    let served = waiting.await.expect("its turn");
    drop(served);
    assert!(newcomer.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_returned_nonce_is_in_quarantine() {
    let blocks = Blocks { ports: 61_000..=61_000, echo_ids: 1..=1, in_order: false };
    // The generator gives the same nonce again and again.
    let host = Arc::new(Ports::default());
    let leases = Leases::new(Clock::since(Instant::now()), host, &blocks, Box::new(|| 7));
    drop(lease(&leases, 1).await.expect("free"));
    assert!(lease(&leases, 1).await.is_err(), "the only nonce there is was used");
    tokio::time::advance(traceroute_core::QUARANTINE).await;
    assert!(lease(&leases, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_system_leaves_nothing_behind() {
    let error = TracerouteError::DescriptorsExhausted { operation: Operation::ReservePort, limit: 256 };
    let leases = leases(Ports { error: Some(error.clone()), ..Ports::default() }, 3);
    assert_eq!(lease(&leases, 1).await.map(drop), Err(error));
    assert_eq!(leases.live(), 0);
}
