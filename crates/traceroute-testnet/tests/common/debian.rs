//! Debian's traceroute.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a module of tests")]

use traceroute_testnet::kernel::Namespace;

/// What `traceroute -n -q1` printed for each hop: the address or `*`, and the annotation, such as `!X`, if any.
pub fn traceroute(client: &Namespace, arguments: &[&str]) -> Vec<String> {
    let output = client.command("traceroute").args(["-n", "-q1"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // " 2  10.71.1.2  0.123 ms !X", after one line that names the target.
    let hop = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        [1, 4].iter().filter_map(|&i| words.get(i).copied()).collect::<Vec<_>>().join(" ")
    };
    String::from_utf8_lossy(&output.stdout).lines().skip(1).map(hop).collect()
}
