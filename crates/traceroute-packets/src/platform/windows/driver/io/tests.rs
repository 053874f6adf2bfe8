use super::super::testing::{Asked, Fake, TARGET, driver, flow, of_flow, opened, segment};
use super::*;
use crate::platform::windows::testing::told;

fn target() -> Destination {
    Destination::routed(TARGET.into())
}

#[tokio::test]
async fn icmp_is_captured_from_the_start() {
    let fake = Arc::new(Fake::default());
    let (driver, inbox, _) = driver(&fake);
    let _driver = driver.expect("it takes all filters");
    assert_eq!(fake.asked(), opened(0, Wanted::Icmp, 0x18));
    let mut source = inbox.source(Inbox::up_to_date);
    fake.give(0, &segment(443, 40_000)).await;
    let captured = told(&mut source).await.expect("a packet");
    assert_eq!(captured.datagram, segment(443, 40_000));
}

#[tokio::test]
async fn an_older_driver_is_asked_in_its_version_and_one_that_is_too_old_is_told_so() {
    let fake = Arc::new(Fake::refusing(&[0x18]));
    let (driver, ..) = driver(&fake);
    let driver = driver.expect("it takes the older ones");
    assert_eq!(fake.asked(), [vec![Asked::Open(0)], opened(1, Wanted::Icmp, 0x17)].concat());
    driver.admit(flow(40_000)).await.expect("it takes the older ones");
    assert_eq!(fake.asked(), opened(2, of_flow(40_000), 0x17));

    let fake = Arc::new(Fake::refusing(&[0x18, 0x17]));
    let (driver, ..) = self::driver(&fake);
    let error = driver.err().expect("it takes none").to_string();
    assert!(error.contains("asking it for packets") && error.contains("too old"), "{error}");
}

#[tokio::test]
async fn a_flow_is_captured_before_its_first_probe_and_until_its_port_is_free() {
    let fake = Arc::new(Fake::default());
    let (driver, _, clock) = driver(&fake);
    let driver = driver.expect("it takes all filters");
    let sink = DriverSink::open(clock, Arc::clone(&driver)).expect("it can be opened");
    fake.asked();
    let (first, second) = (segment(40_000, 443), segment(40_001, 443));
    sink.send(&first, target()).await.expect("sent");
    assert_eq!(fake.asked(), [opened(2, of_flow(40_000), 0x18), vec![Asked::Write(first.clone())]].concat());
    sink.send(&first, target()).await.expect("sent");
    assert_eq!(fake.asked(), [Asked::Write(first)]);
    sink.send(&second, target()).await.expect("sent");
    assert_eq!(fake.asked(), [opened(3, of_flow(40_001), 0x18), vec![Asked::Write(second)]].concat());
    driver.release(flow(40_000).local);
    assert_eq!(lock(&driver.flows).keys().copied().collect::<Vec<_>>(), [flow(40_001)]);
}

#[tokio::test]
async fn what_two_handles_bring_comes_once() {
    let fake = Arc::new(Fake::default());
    let (driver, inbox, _) = driver(&fake);
    let driver = driver.expect("it takes all filters");
    let mut source = inbox.source(Inbox::up_to_date);
    driver.admit(flow(40_000)).await.expect("asked");
    // While a connection is made from 40001, all of the target's segments are brought.
    let _target = driver.admit_target(flow(40_001)).await.expect("asked");
    driver.admit(flow(40_001)).await.expect("asked");
    let (flow_handle, target_handle) = (1, 2);
    fake.give(target_handle, &segment(443, 40_000)).await;
    fake.give(target_handle, &segment(443, 40_001)).await;
    fake.give(flow_handle, &segment(443, 40_000)).await;
    for port in [40_001, 40_000] {
        let captured = told(&mut source).await.expect("a packet");
        assert_eq!(captured.datagram, segment(443, port));
    }
    driver.asker().ask();
    assert!(told(&mut source).await.is_none(), "and no more");
}
