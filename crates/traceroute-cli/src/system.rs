//! What is different for people from system to system: who may trace, the commands that show more about an error, and terminals.

#[cfg(not(any(target_os = "macos", windows)))]
mod imp {
    /// Who may trace.
    pub(crate) const PERMISSION: (&str, &str) = (
        "CAP_NET_RAW",
        "is needed to send probes and to capture answers: run as root, or grant it with \
         sudo setcap cap_net_raw+ep $(command -v datadog-traceroute)",
    );
    /// What else the manual page names, and its section.
    pub(crate) const SEE_ALSO: &[(&str, &str)] = &[("traceroute", "1"), ("mtr", "8"), ("setcap", "8")];

    /// What grants the permission to this program, wherever it is.
    pub(crate) fn grant() -> Option<String> {
        let program = std::env::current_exe().ok()?.display().to_string().replace('\'', r"'\''");
        Some(format!("`sudo setcap cap_net_raw+ep '{program}'` grants it to the program"))
    }
    pub(crate) const ROUTE: &str = "`ip route get ADDRESS`, with `from SOURCE` or `oif INTERFACE` where those are chosen, \
                                    shows what this host knows of the way";
    pub(crate) const ADDRESSES: &str = "`ip address` shows those that there are";
    pub(crate) const FAMILIES: &str =
        "`ip address` shows the addresses that there are; trace one of another family";
    pub(crate) const INTERFACES: &str = "`ip link` shows those that there are";
    pub(crate) const PORTS: &str = "`ss -anp` shows who has them";
    /// What to look at where the system has no more to give.
    pub(crate) const LIMIT: &str = "`ulimit -n` shows and raises the limit";
    pub(crate) const FIREWALL: &str = "`ip route get ADDRESS`, `ip rule` and `nft list ruleset` show which; try another \
                                       --proto or --port";
    pub(crate) const MTU: &str =
        "give a smaller --size: `ip route get ADDRESS` shows the interface, `ip link` its MTU";

    /// Whether terminals say in `TERM` what they are: without it they can show text only.
    pub(crate) const TERMINALS_SET_TERM: bool = true;

    /// Whether terminals obey escape sequences.
    pub(crate) const fn obeys_escapes() -> bool {
        true
    }
}

#[cfg(target_os = "macos")]
mod imp {
    pub(crate) const PERMISSION: (&str, &str) =
        ("root", "may send probes and capture answers: sudo datadog-traceroute TARGET");
    pub(crate) const SEE_ALSO: &[(&str, &str)] = &[("traceroute", "8"), ("sudo", "8")];

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere there may be nothing that does")]
    pub(crate) fn grant() -> Option<String> {
        Some("`sudo datadog-traceroute ...` does that".into())
    }
    pub(crate) const ROUTE: &str = "`route -n get ADDRESS` shows what this host knows of the way";
    pub(crate) const ADDRESSES: &str = "`ifconfig` shows those that there are";
    pub(crate) const FAMILIES: &str =
        "`ifconfig` shows the addresses that there are; trace one of another family";
    pub(crate) const INTERFACES: &str = "`ifconfig` shows those that there are";
    pub(crate) const PORTS: &str = "`lsof -nP -i` shows who has them";
    pub(crate) const LIMIT: &str = "`ulimit -n` shows and raises the limit";
    pub(crate) const FIREWALL: &str =
        "`route -n get ADDRESS` and `sudo pfctl -s rules` show which; try another --proto or --port";
    pub(crate) const MTU: &str =
        "give a smaller --size: `route -n get ADDRESS` shows the interface and its MTU";

    pub(crate) const TERMINALS_SET_TERM: bool = true;

    pub(crate) const fn obeys_escapes() -> bool {
        true
    }
}

#[cfg(windows)]
mod imp {
    pub(crate) const PERMISSION: (&str, &str) = (
        "Administrator",
        "may trace by UDP, ICMP and, on servers, TCP SYN over IPv4, and by every method with --windows-driver where the network \
         driver of the Datadog Agent is installed. Others may trace by --proto icmp, and by --proto tcp --tcp-method syn_socket.",
    );
    pub(crate) const SEE_ALSO: &[(&str, &str)] = &[];

    /// The error says all that there is to say.
    pub(crate) fn grant() -> Option<String> {
        None
    }
    pub(crate) const ROUTE: &str = "`route print` shows what this host knows of the way, in PowerShell `Find-NetRoute -RemoteIPAddress ADDRESS`";
    pub(crate) const ADDRESSES: &str = "`ipconfig` shows those that there are";
    pub(crate) const FAMILIES: &str =
        "`ipconfig` shows the addresses that there are; trace one of another family";
    pub(crate) const INTERFACES: &str = "`netsh interface show interface` shows those that there are";
    pub(crate) const PORTS: &str = "`netstat -ano` shows who has them";
    pub(crate) const LIMIT: &str = "the Task Manager shows who has how many handles and how much memory";
    pub(crate) const FIREWALL: &str = "`route print` and, in PowerShell, `Get-NetFirewallRule -Direction Outbound -Action \
                                       Block` show which; try another --proto or --port";
    pub(crate) const MTU: &str =
        "give a smaller --size: `netsh interface ipv4 show subinterfaces` shows the MTUs";

    pub(crate) const TERMINALS_SET_TERM: bool = false;

    /// Consoles do, once they have been asked to.
    pub(crate) fn obeys_escapes() -> bool {
        nu_ansi_term::enable_ansi_support().is_ok()
    }
}

pub(crate) use imp::{
    ADDRESSES, FAMILIES, FIREWALL, INTERFACES, LIMIT, MTU, PERMISSION, PORTS, ROUTE, SEE_ALSO,
    TERMINALS_SET_TERM, grant, obeys_escapes,
};
