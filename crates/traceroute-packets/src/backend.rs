//! The ways to send probes and to see their answers, and what each of them can do.
//!
//! The tables of `docs/platforms.md` and of the README say the same to people; tests compare them.

use std::net::IpAddr;

use traceroute_core::{Family, Mode, Remedy, StampSource, TracerouteError};

/// A way to send probes and to see their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Linux: a packet socket and raw sockets (`CAP_NET_RAW`).
    PacketSocket,
    /// macOS: BPF devices and raw sockets (root).
    Bpf,
    /// Windows: raw sockets (Administrators) of an edition for servers.
    RawSockets,
    /// Windows: raw sockets (Administrators) of an edition for clients, which sends no TCP by them.
    ClientRawSockets,
    /// Windows: the network driver of the Datadog Agent.
    Driver,
    /// Windows: the system's own echo requests, which everybody may send.
    EchoRequests,
    /// Windows: connections with a limited TTL, whose ICMP errors the system tells to everybody.
    Connections,
    /// A network that was [assembled](crate::Network::assemble), a simulated one for example.
    Assembled,
}

/// What a [`Backend`] can do.
#[expect(clippy::struct_excessive_bools, reason = "a table of yes and no, which people read as one")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// UDP probes.
    pub udp: Families,
    /// ICMP probes.
    pub icmp: Families,
    /// TCP SYN probes.
    pub syn: Families,
    /// TCP SACK probes.
    pub sack: Families,
    /// Who stamps answers.
    pub receive_stamps: StampSource,
    /// Who stamps probes.
    pub send_stamps: StampSource,
    /// Whether all probes of a run are one flow to load balancers that hash what RFC 2992 and RFC 6438 name.
    pub one_flow: bool,
    /// Whether answers show what their senders add and what has become of the probe on its way: MPLS labels (RFC 4950),
    /// interfaces (RFC 5837), translated addresses, the TTL that was left.
    pub quotes: bool,
    /// Whether a datagram that a UDP target answers with is seen.
    pub udp_answers: bool,
    /// Whether the interface may be chosen that probes leave through.
    pub interface: bool,
    /// Whether link-local IPv6 addresses can be traced, which belong to an interface.
    pub link_local: bool,
    /// Whether the type of service or traffic class of probes may be chosen.
    pub traffic_class: bool,
    /// Whether network namespaces may be entered.
    pub namespaces: bool,
}

/// The families of addresses that something works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// None.
    Neither,
    /// IPv4.
    V4,
    /// IPv4 and IPv6.
    Both,
}

impl Families {
    const fn include(self, address: IpAddr) -> bool {
        match self {
            Self::Neither => false,
            Self::V4 => address.is_ipv4(),
            Self::Both => true,
        }
    }
}

/// A method of probing, of which a backend may know some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Technique {
    /// UDP datagrams.
    Udp,
    /// Echo requests.
    Icmp,
    /// TCP SYN segments.
    Syn,
    /// TCP segments in a connection.
    Sack,
}

/// Something that may be chosen about probes, with some backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// The interface that they leave through.
    Interface,
    /// That of a link-local target.
    Zone,
    /// The type of service or traffic class.
    TrafficClass,
}

impl Technique {
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
            Self::Syn => "TCP SYN",
            Self::Sack => "TCP SACK",
        }
    }
}

impl Backend {
    /// All that belong to a system.
    pub const ALL: [Self; 7] = [
        Self::PacketSocket,
        Self::Bpf,
        Self::RawSockets,
        Self::ClientRawSockets,
        Self::Driver,
        Self::EchoRequests,
        Self::Connections,
    ];

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketSocket => "Linux",
            Self::Bpf => "macOS",
            Self::RawSockets => "Windows, raw sockets of servers",
            Self::ClientRawSockets => "Windows, raw sockets of clients",
            Self::Driver => "Windows, driver",
            Self::EchoRequests => "Windows, no privileges",
            Self::Connections => "Windows, syn_socket",
            Self::Assembled => "assembled network",
        }
    }

    /// What it can do.
    #[must_use]
    pub const fn capabilities(self) -> Capabilities {
        const ALL: Capabilities = Capabilities {
            udp: Families::Both,
            icmp: Families::Both,
            syn: Families::Both,
            sack: Families::Both,
            receive_stamps: StampSource::Kernel,
            send_stamps: StampSource::Kernel,
            one_flow: true,
            quotes: true,
            udp_answers: true,
            interface: true,
            link_local: true,
            traffic_class: true,
            namespaces: false,
        };
        const NOTHING: Capabilities = Capabilities {
            udp: Families::Neither,
            icmp: Families::Neither,
            syn: Families::Neither,
            sack: Families::Neither,
            receive_stamps: StampSource::User,
            send_stamps: StampSource::User,
            one_flow: false,
            quotes: false,
            udp_answers: false,
            interface: false,
            link_local: false,
            traffic_class: false,
            namespaces: false,
        };
        const CLIENT_RAW_SOCKETS: Capabilities = Capabilities {
            udp: Families::V4,
            icmp: Families::V4,
            one_flow: true,
            quotes: true,
            udp_answers: true,
            interface: true,
            traffic_class: true,
            ..NOTHING
        };
        match self {
            Self::PacketSocket => Capabilities { namespaces: true, ..ALL },
            Self::Bpf | Self::Assembled => ALL,
            Self::RawSockets => Capabilities { syn: Families::V4, ..CLIENT_RAW_SOCKETS },
            Self::ClientRawSockets => CLIENT_RAW_SOCKETS,
            Self::Driver => Capabilities {
                receive_stamps: StampSource::User,
                send_stamps: StampSource::User,
                udp_answers: false,
                interface: false,
                link_local: false,
                ..ALL
            },
            Self::EchoRequests => Capabilities { icmp: Families::Both, link_local: true, ..NOTHING },
            Self::Connections => {
                Capabilities { syn: Families::V4, one_flow: true, interface: true, ..NOTHING }
            }
        }
    }

    /// Whether a technique works toward an address; an error that says what does instead if it does not.
    pub fn check(self, technique: Technique, target: IpAddr) -> Result<(), TracerouteError> {
        let Capabilities { udp, icmp, syn, sack, .. } = self.capabilities();
        let families = match technique {
            Technique::Udp => udp,
            Technique::Icmp => icmp,
            Technique::Syn => syn,
            Technique::Sack => sack,
        };
        if families.include(target) {
            return Ok(());
        }
        let family = Family::of(target);
        Err(TracerouteError::NotCapable {
            technique: technique.name(),
            family,
            remedy: self.remedy(technique),
        })
    }

    /// Whether a choice may be made for probes toward an address; an error that says what to do instead if not.
    pub fn check_choice(self, choice: Choice, target: IpAddr) -> Result<(), TracerouteError> {
        let Capabilities { interface, link_local, traffic_class, .. } = self.capabilities();
        let (possible, technique, remedy): (_, _, Remedy) = match choice {
            Choice::Interface => (
                interface,
                "probing through an interface of choice",
                &"choose --source instead, or leave both to the routing table",
            ),
            Choice::Zone => {
                (link_local, "probing link-local addresses", &"trace another address of the host")
            }
            Choice::TrafficClass => (
                traffic_class,
                "probing with a type of service or traffic class",
                &"leave out --tos and --dscp: on Windows only raw sockets and --windows-driver have them",
            ),
        };
        if possible {
            return Ok(());
        }
        Err(TracerouteError::NotCapable { technique, family: Family::of(target), remedy })
    }

    /// What results say of it; `None` for what is usual.
    #[must_use]
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::EchoRequests => Some(Mode::Unprivileged),
            _ => None,
        }
    }

    /// Whether it may hear nothing of what it can do: Windows' firewall keeps ICMP errors from raw sockets unless a rule lets them
    /// in, and on editions for clients, the reference's authors say, raw sockets hear nothing at all.
    #[must_use]
    pub const fn is_doubtful(self) -> bool {
        matches!(self, Self::RawSockets | Self::ClientRawSockets)
    }

    /// What may keep it from hearing any router, where that is usual.
    #[must_use]
    pub const fn why_no_router_is_heard(self) -> Option<&'static str> {
        match self {
            Self::RawSockets => Some(
                "no router was heard, perhaps because Windows' firewall drops ICMP errors before programs see \
                 them: `netsh advfirewall firewall add rule name=\"ICMPv4 errors\" protocol=icmpv4:any,any dir=in \
                 action=allow` lets them in",
            ),
            Self::ClientRawSockets => Some(
                "no router was heard, perhaps because Windows' firewall drops ICMP errors before programs see \
                 them (`netsh advfirewall firewall add rule name=\"ICMPv4 errors\" protocol=icmpv4:any,any dir=in \
                 action=allow` lets them in), or because raw sockets hear nothing on an edition for clients: \
                 --proto tcp --tcp-method syn_socket needs none, nor does --proto icmp without --interface, --tos and --dscp",
            ),
            _ => None,
        }
    }

    /// What to do where something is not possible.
    const fn remedy(self, technique: Technique) -> Remedy {
        match self {
            Self::RawSockets | Self::ClientRawSockets if matches!(technique, Technique::Icmp) => {
                &"the raw sockets of Windows know IPv4 only, and its own echo requests neither --interface nor --tos nor --dscp: \
                  leave these out, or use --windows-driver, which needs the network driver of the Datadog Agent"
            }
            Self::RawSockets => {
                &"the raw sockets of Windows know UDP, ICMP and TCP SYN over IPv4: use --proto icmp for IPv6, and for \
                 all else --windows-driver, which needs the network driver of the Datadog Agent"
            }
            Self::ClientRawSockets => {
                &"the raw sockets of Windows' editions for clients know UDP and ICMP over IPv4: use --proto icmp, \
                 or --proto tcp --tcp-method syn_socket, or for all else --windows-driver, which needs the network \
                 driver of the Datadog Agent"
            }
            Self::EchoRequests => {
                &"without privileges Windows lets a program send echo requests only: use --proto icmp, or \
                 --proto tcp --tcp-method syn_socket, or run as Administrator, or use --windows-driver"
            }
            Self::Connections => &"syn_socket knows TCP over IPv4: use another method for all else",
            Self::Driver | Self::PacketSocket | Self::Bpf | Self::Assembled => &"use another method",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_possible_is_an_error_that_says_what_is() {
        let v4: IpAddr = [192, 0, 2, 1].into();
        let v6: IpAddr = "2001:db8::1".parse().expect("an address");
        for backend in Backend::ALL {
            let works = |technique, to| backend.check(technique, to).is_ok();
            let Capabilities { udp, sack, .. } = backend.capabilities();
            assert_eq!(
                (works(Technique::Udp, v4), works(Technique::Udp, v6)),
                match udp {
                    Families::Neither => (false, false),
                    Families::V4 => (true, false),
                    Families::Both => (true, true),
                }
            );
            assert_eq!(works(Technique::Sack, v4), sack != Families::Neither, "{backend:?}");
        }
        let error =
            Backend::EchoRequests.check(Technique::Udp, v4).expect_err("echo requests only").to_string();
        assert!(error.contains("UDP over IPv4") && error.contains("--proto icmp"), "{error}");
        for (choice, words) in [
            (Choice::Interface, ["interface of choice", "--source"]),
            (Choice::Zone, ["link-local", "another address"]),
            (Choice::TrafficClass, ["type of service", "--dscp"]),
        ] {
            assert_eq!(Backend::PacketSocket.check_choice(choice, v6), Ok(()));
            let error = Backend::Connections.check_choice(choice, v6).map_err(|error| error.to_string());
            let possible = choice == Choice::Interface;
            assert!(
                error.is_err_and(|error| words.iter().all(|word| error.contains(word))) != possible,
                "{choice:?}"
            );
        }
        assert!(Backend::EchoRequests.check_choice(Choice::Interface, v4).is_err());
        let error = Backend::ClientRawSockets.check(Technique::Syn, v4).expect_err("servers do").to_string();
        assert!(error.contains("TCP SYN over IPv4") && error.contains("syn_socket"), "{error}");
        let error = Backend::RawSockets.check(Technique::Icmp, v6).expect_err("no IPv6").to_string();
        assert!(error.contains("ICMP over IPv6") && error.contains("--windows-driver"), "{error}");
    }

    const fn families(families: Families) -> &'static str {
        match families {
            Families::Neither => "no",
            Families::V4 => "IPv4",
            Families::Both => "IPv4, IPv6",
        }
    }

    /// What `docs/platforms.md` says of a backend, cell by cell.
    fn cells(backend: Backend) -> Vec<String> {
        let Capabilities {
            udp,
            icmp,
            syn,
            sack,
            receive_stamps,
            send_stamps,
            one_flow,
            quotes,
            udp_answers,
            interface,
            link_local,
            traffic_class,
            namespaces,
        } = backend.capabilities();
        let stamps = |source| match source {
            StampSource::Kernel => "kernel",
            StampSource::User => "program",
        };
        let whether = |can| if can { "yes" } else { "no" };
        let cells = [
            backend.name(),
            families(udp),
            families(icmp),
            families(syn),
            families(sack),
            stamps(receive_stamps),
            stamps(send_stamps),
            whether(one_flow),
            whether(quotes),
            whether(udp_answers),
            whether(interface),
            whether(link_local),
            whether(traffic_class),
            whether(namespaces),
        ];
        cells.map(str::to_owned).into()
    }

    /// The cells of the table in a text that has this heading for its first columns.
    fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
        let (_, table) = text.split_once(heading).expect("the table is there");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
            .collect()
    }

    #[test]
    fn people_are_told_the_same() {
        let told = table(include_str!("../../../docs/platforms.md"), "\n| way | UDP |");
        assert_eq!(told, Backend::ALL.map(cells), "docs/platforms.md has another table");
    }

    #[test]
    fn people_are_told_the_same_at_first_sight() {
        type Of = fn(Capabilities) -> Families;
        let told = table(include_str!("../../../README.md"), "\n| | Linux | macOS |");
        let techniques: [(&str, Of); 4] = [
            ("UDP", |can| can.udp),
            ("ICMP", |can| can.icmp),
            ("TCP SYN", |can| can.syn),
            ("TCP SACK", |can| can.sack),
        ];
        for (row, (name, of)) in told.iter().zip(techniques) {
            let known = |backend: Backend| of(backend.capabilities());
            // An Administrator's ICMP goes by echo requests, too.
            let administrators = match [known(Backend::RawSockets), known(Backend::ClientRawSockets)] {
                _ if name == "ICMP" => families(known(Backend::EchoRequests)).to_owned(),
                [servers, clients] if servers == clients => families(servers).to_owned(),
                [servers, _] => format!("{}, on servers", families(servers)),
            };
            let [linux, macos, driver, everybody] =
                [Backend::PacketSocket, Backend::Bpf, Backend::Driver, Backend::EchoRequests]
                    .map(|backend| families(known(backend)));
            assert_eq!(row[..], [name, linux, macos, &administrators, driver, everybody]);
        }
        let connections = families(Backend::Connections.capabilities().syn);
        assert_eq!(told[4][1..], ["no", "no", connections, connections, connections]);
    }
}
