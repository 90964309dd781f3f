//! The kernel's watchdog devices: the calls of `<linux/watchdog.h>` on an open device.

use rustix::fd::AsFd;
use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};
use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The group of numbers that belongs to watchdogs.
const GROUP: u8 = b'W';
const GET_SUPPORT: Opcode = opcode::read::<Info>(GROUP, 0);
const SET_TIMEOUT: Opcode = opcode::read_write::<c_int>(GROUP, 6);
const GET_TIMEOUT: Opcode = opcode::read::<c_int>(GROUP, 7);

/// `WDIOF_SETTIMEOUT`: the time-out can be set.
pub const CAN_SET_TIMEOUT: u32 = 0x0080;
/// `WDIOF_MAGICCLOSE`: a `V` before the device is closed disarms it.
pub const MAGIC_CLOSE: u32 = 0x0100;

/// `struct watchdog_info`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    options: u32,
    firmware: u32,
    identity: [u8; 32],
}

/// What a watchdog says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchdogSupport {
    /// Bits: [`CAN_SET_TIMEOUT`], [`MAGIC_CLOSE`] and others.
    pub options: u32,
    /// Version of its firmware; 0: not told.
    pub firmware: u32,
    /// Its name.
    pub identity: String,
}

/// An open watchdog. From the moment it is open it counts; what is dropped without a `V` goes on counting. Every call may
/// block as long as the driver does.
pub trait OpenWatchdog: Send {
    /// Writes to it: any byte feeds it, a `V` disarms it at the close that follows.
    ///
    /// # Errors
    /// Those of the system.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// What it is and can do.
    ///
    /// # Errors
    /// Those of the system.
    fn support(&self) -> io::Result<WatchdogSupport>;

    /// Sets the time-out in seconds; the driver may round it.
    ///
    /// # Errors
    /// Those of the system.
    fn set_timeout(&mut self, seconds: i32) -> io::Result<()>;

    /// The time-out in force, in seconds.
    ///
    /// # Errors
    /// Those of the system.
    fn timeout(&self) -> io::Result<i32>;
}

/// A device of the kernel.
#[derive(Debug)]
pub struct WatchdogDevice(File);

impl WatchdogDevice {
    /// Opens it for writing, which arms it.
    ///
    /// # Errors
    /// It is not there, not ours, or open already.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).open(path).map(Self)
    }
}

impl OpenWatchdog for WatchdogDevice {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    #[allow(unsafe_code)]
    fn support(&self) -> io::Result<WatchdogSupport> {
        // SAFETY: this number makes a driver fill one `struct watchdog_info`, which `Info` is; any bytes are a valid one.
        let info: Info = unsafe { ioctl(self.0.as_fd(), Getter::<GET_SUPPORT, Info>::new()) }?;
        let length = info.identity.iter().position(|byte| *byte == 0).unwrap_or(info.identity.len());
        let identity = String::from_utf8_lossy(info.identity.get(..length).unwrap_or_default()).into_owned();
        Ok(WatchdogSupport { options: info.options, firmware: info.firmware, identity })
    }

    #[allow(unsafe_code)]
    fn set_timeout(&mut self, seconds: i32) -> io::Result<()> {
        let mut value: c_int = seconds;
        // SAFETY: this number makes a driver read and write one int, which lives until the call has returned.
        unsafe { ioctl(self.0.as_fd(), Updater::<SET_TIMEOUT, c_int>::new(&mut value)) }?;
        Ok(())
    }

    #[allow(unsafe_code)]
    fn timeout(&self) -> io::Result<i32> {
        // SAFETY: this number makes a driver write one int.
        Ok(unsafe { ioctl(self.0.as_fd(), Getter::<GET_TIMEOUT, c_int>::new()) }?)
    }
}

/// Whether this process may write to the path, which exists.
#[must_use]
pub fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // rows: WD-02
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn the_numbers_are_those_of_the_kernel_header() {
        assert_eq!((GET_SUPPORT, SET_TIMEOUT, GET_TIMEOUT), (0x8028_5700, 0xC004_5706, 0x8004_5707));
    }

    #[test]
    fn what_is_no_watchdog_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut device = WatchdogDevice::open(file.path()).unwrap();
        let no_device = Some(rustix::io::Errno::NOTTY.raw_os_error());
        assert_eq!(device.support().unwrap_err().raw_os_error(), no_device);
        assert_eq!(device.set_timeout(5).unwrap_err().raw_os_error(), no_device);
        assert_eq!(device.timeout().unwrap_err().raw_os_error(), no_device);
        device.write(b"1").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"1");
        assert!(may_write(file.path()) && !may_write(Path::new("/nowhere/watchdog")));
        assert_eq!(WatchdogDevice::open(Path::new("/nowhere/watchdog")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
