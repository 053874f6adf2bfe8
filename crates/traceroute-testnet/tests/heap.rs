//! What a whole process has allocated. The only test of its program: what others allocate at the same time would be counted.

use traceroute_testnet::heap::{Counting, live};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn what_lives_is_counted() {
    const SIZE: usize = 64 << 20;
    // The test's harness allocates a little at the same time.
    let before = live();
    let mut block = vec![1_u8; SIZE];
    assert!(live() >= before + SIZE / 2);
    block.extend_from_within(..);
    assert!(live() >= before + SIZE);
    drop(block);
    assert!(live() < before + SIZE / 2);
}
