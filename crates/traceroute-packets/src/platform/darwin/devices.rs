//! Opening a BPF device (bpf(4)) and what it is told, whatever the system calls are.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Weak};

use traceroute_core::{InterfaceName, Operation, TracerouteError};
use traceroute_wire::bpf::Program;

use super::links;
use crate::filter::Base;
use crate::platform::errors::refused;

/// `/dev/bpf0` to `/dev/bpf255`: as many as the kernel makes, `BPF_MAX_DEVICES` of bsd/net/bpf.c.
const DEVICES: usize = 256;
/// Answers of some hundred runs that come all at once; the most that older kernels give (`BPF_MAXBUFSIZE` of bsd/net/bpf.h).
const BUFFER_LEN: u32 = 512 << 10;

/// Why no device can be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Others have all of them.
    Busy {
        /// How many there are.
        count: usize,
    },
    /// The packets of the interface have a link header that is not known.
    LinkType(u32),
    /// The system refuses it.
    Refused(io::Error),
}

impl Unusable {
    /// What it means for a trace through an interface.
    pub(super) fn error(self, interface: &CStr) -> TracerouteError {
        match self {
            Self::Busy { count } => TracerouteError::CaptureDevicesBusy { count },
            Self::LinkType(link_type) => TracerouteError::UnknownLinkType {
                interface: InterfaceName::new(&interface.to_string_lossy()),
                link_type,
            },
            Self::Refused(error) => refused(Operation::Capture, &error),
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

/// Opens the first device that nobody uses, lets it capture what the filter admits of an interface's packets, and makes it known
/// to the runtime by `register`.
pub(super) fn open<D: Controls, R>(
    open: impl FnMut(usize) -> io::Result<D>,
    interface: &CStr,
    filter: impl FnOnce(Base) -> Program,
    register: impl FnOnce(D) -> io::Result<R>,
) -> Result<(R, Settings), Unusable> {
    let device = open_first(open)?;
    let settings = begin(&device, interface, filter)?;
    Ok((register(device)?, settings))
}

/// The first device that nobody uses. The kernel makes a file for one more device whenever the last one is opened
/// (`bpfopen`, bsd/net/bpf.c), so the first that does not exist is the end of them.
fn open_first<D>(mut open: impl FnMut(usize) -> io::Result<D>) -> Result<D, Unusable> {
    for number in 0..DEVICES {
        match open(number) {
            Ok(device) => return Ok(device),
            Err(error) => match error.kind() {
                ErrorKind::ResourceBusy => {}
                ErrorKind::NotFound if number > 0 => return Err(Unusable::Busy { count: number }),
                _ => return Err(Unusable::Refused(error)),
            },
        }
    }
    Err(Unusable::Busy { count: DEVICES })
}

/// What a device can be told and asked for, named as in bpf(4).
pub(super) trait Controls {
    /// `BIOCSBLEN`.
    fn set_buffer_length(&self, length: u32) -> io::Result<()>;
    /// `BIOCGBLEN`.
    fn buffer_length(&self) -> io::Result<u32>;
    /// `BIOCSETIF`.
    fn set_interface(&self, name: &CStr) -> io::Result<()>;
    /// `BIOCGDLT`.
    fn link_type(&self) -> io::Result<u32>;
    /// `BIOCSETF`.
    fn set_filter(&self, filter: &Program) -> io::Result<()>;
    /// `BIOCIMMEDIATE`.
    fn set_immediate(&self) -> io::Result<()>;
    /// `BIOCSSEESENT`.
    fn set_see_sent(&self) -> io::Result<()>;
}

/// What is to be known of a device that captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// What it shows of a packet.
    pub(super) base: Base,
    /// The length of its buffer in bytes, which every read must have room for.
    pub(super) buffer_length: usize,
}

/// Lets a device capture what the filter admits of an interface's packets, ours included, and hand out each at once.
fn begin(
    device: &impl Controls,
    interface: &CStr,
    filter: impl FnOnce(Base) -> Program,
) -> Result<Settings, Unusable> {
    // Not once it has an interface.
    device.set_buffer_length(BUFFER_LEN)?;
    device.set_interface(interface)?;
    let buffer_length = device.buffer_length()?;
    let link_type = device.link_type()?;
    let base = links::base(link_type).ok_or(Unusable::LinkType(link_type))?;
    device.set_see_sent()?;
    // Which also discards what has been captured without it.
    device.set_filter(&filter(base))?;
    device.set_immediate()?;
    Ok(Settings { base, buffer_length: usize::try_from(buffer_length).unwrap_or(usize::MAX) })
}

/// The devices that the capture reads, by the index of their interface. They are the capture's alone: one that it has given up
/// is closed.
#[derive(Debug)]
pub(super) struct OpenDevices<D>(HashMap<u32, Weak<D>>);

impl<D> Default for OpenDevices<D> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<D> OpenDevices<D> {
    /// Whether the capture reads a device of this interface that is of use.
    pub(super) fn has(&self, interface: u32, is_of_use: impl FnOnce(&D) -> bool) -> bool {
        self.0.get(&interface).and_then(Weak::upgrade).is_some_and(|device| is_of_use(&device))
    }

    /// Takes down that the capture reads a device.
    pub(super) fn add(&mut self, interface: u32, device: &Arc<D>) {
        self.0.retain(|_, device| device.strong_count() > 0);
        self.0.insert(interface, Arc::downgrade(device));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;
    use crate::filter::{FilterSpec, SnapLengths, capture_filter};

    /// A device of which somebody counts how many are open.
    struct Counted(Rc<Cell<usize>>);

    impl Counted {
        fn open(open: &Rc<Cell<usize>>) -> Self {
            open.set(open.get() + 1);
            Self(Rc::clone(open))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[test]
    fn busy_devices_are_skipped_in_order() {
        let mut asked = Vec::new();
        let opened = open_first(|number| {
            asked.push(number);
            if number < 3 { Err(ErrorKind::ResourceBusy.into()) } else { Ok(number) }
        });
        assert_eq!((opened.ok(), asked), (Some(3), vec![0, 1, 2, 3]));
    }

    #[test]
    fn the_first_device_that_does_not_exist_is_the_end() {
        let end = |error: ErrorKind| {
            open_first::<()>(|number| {
                Err(if number < 4 { ErrorKind::ResourceBusy.into() } else { error.into() })
            })
        };
        assert!(matches!(end(ErrorKind::NotFound), Err(Unusable::Busy { count: 4 })));
        assert!(matches!(end(ErrorKind::ResourceBusy), Err(Unusable::Busy { count: 256 })));
        assert!(matches!(end(ErrorKind::PermissionDenied), Err(Unusable::Refused(_))));
    }

    #[test]
    fn no_permission_is_known_at_once() {
        let mut asked = 0;
        let opened = open_first::<()>(|_| {
            asked += 1;
            Err(ErrorKind::PermissionDenied.into())
        });
        assert!(
            matches!(opened, Err(Unusable::Refused(error)) if error.kind() == ErrorKind::PermissionDenied)
        );
        assert_eq!(asked, 1);
        let none = open_first::<()>(|_| Err(ErrorKind::NotFound.into()));
        assert!(matches!(none, Err(Unusable::Refused(_))), "a system without BPF has no busy devices");
    }

    /// Notes what it is told; `fails` is the call that fails.
    struct Recorder {
        _device: Counted,
        told: RefCell<Vec<&'static str>>,
        fails: usize,
        link_type: u32,
    }

    impl Recorder {
        fn tell(&self, what: &'static str) -> io::Result<()> {
            let mut told = self.told.borrow_mut();
            told.push(what);
            if told.len() > self.fails { Err(ErrorKind::Other.into()) } else { Ok(()) }
        }
    }

    impl Controls for Recorder {
        fn set_buffer_length(&self, length: u32) -> io::Result<()> {
            assert_eq!(length, 524_288);
            self.tell("BIOCSBLEN")
        }
        fn buffer_length(&self) -> io::Result<u32> {
            self.tell("BIOCGBLEN").map(|()| 4096)
        }
        fn set_interface(&self, name: &CStr) -> io::Result<()> {
            assert_eq!(name, c"en0");
            self.tell("BIOCSETIF")
        }
        fn link_type(&self) -> io::Result<u32> {
            self.tell("BIOCGDLT").map(|()| self.link_type)
        }
        fn set_filter(&self, filter: &Program) -> io::Result<()> {
            assert_eq!(*filter, program(Base::Ethernet));
            self.tell("BIOCSETF")
        }
        fn set_immediate(&self) -> io::Result<()> {
            self.tell("BIOCIMMEDIATE")
        }
        fn set_see_sent(&self) -> io::Result<()> {
            self.tell("BIOCSSEESENT")
        }
    }

    fn program(base: Base) -> Program {
        capture_filter(&FilterSpec {
            base,
            ports: 1..=2,
            echo_ids: 3..=4,
            snap_lengths: SnapLengths::default(),
        })
    }

    const IN_ORDER: [&str; 7] =
        ["BIOCSBLEN", "BIOCSETIF", "BIOCGBLEN", "BIOCGDLT", "BIOCSSEESENT", "BIOCSETF", "BIOCIMMEDIATE"];

    #[test]
    fn a_device_is_told_everything_in_order() {
        let open = Rc::default();
        let device = Recorder {
            _device: Counted::open(&open),
            told: RefCell::default(),
            fails: usize::MAX,
            link_type: 1,
        };
        let settings = begin(&device, c"en0", program).expect("nothing fails");
        assert_eq!(settings, Settings { base: Base::Ethernet, buffer_length: 4096 }, "what the system gave");
        assert_eq!(*device.told.borrow(), IN_ORDER);
    }

    #[test]
    fn no_error_leaves_a_device_open() {
        let count: Rc<Cell<usize>> = Rc::default();
        // One more, that of the runtime, than calls.
        for fails in 0..=IN_ORDER.len() {
            let device = |number| {
                let device = Recorder {
                    _device: Counted::open(&count),
                    told: RefCell::default(),
                    fails,
                    link_type: 1,
                };
                if number < 2 { Err(ErrorKind::ResourceBusy.into()) } else { Ok(device) }
            };
            let register = |device: Recorder| {
                assert_eq!((count.get(), fails), (1, IN_ORDER.len()), "those that were busy are closed");
                device.tell("register").map(|()| device)
            };
            let opened = open(device, c"en0", program, register);
            assert!(matches!(opened, Err(Unusable::Refused(_))), "call {fails} fails");
            assert_eq!(count.get(), 0, "call {fails} fails");
        }
    }

    #[test]
    fn a_device_that_nobody_reads_is_closed_and_forgotten() {
        let mut devices = OpenDevices::default();
        let device = Arc::new("en0");
        devices.add(5, &device);
        assert!(devices.has(5, |_| true));
        assert!(!devices.has(5, |_| false), "its interface is gone");
        assert!(!devices.has(6, |_| true));
        assert_eq!(Arc::into_inner(device), Some("en0"), "nobody else keeps it");
        assert!(!devices.has(5, |_| true));
        let other = Arc::new("en1");
        devices.add(6, &other);
        assert_eq!(devices.0.keys().collect::<Vec<_>>(), [&6]);
    }

    #[test]
    fn an_unknown_link_type_is_an_error_of_its_own() {
        // DLT_PPP.
        let device = Recorder {
            _device: Counted::open(&Rc::default()),
            told: RefCell::default(),
            fails: usize::MAX,
            link_type: 9,
        };
        let error = begin(&device, c"en0", program).expect_err("PPP").error(c"ppp0");
        assert_eq!(
            error,
            TracerouteError::UnknownLinkType { interface: InterfaceName::new("ppp0"), link_type: 9 }
        );
        assert!(error.to_string().starts_with("the packets of interface ppp0 "), "{error}");
    }
}
