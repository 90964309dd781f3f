//! One watchdog device: the kernel's, or the `testing` driver's file that only tells what it was told.

use crate::sys::watchdog::{CAN_SET_TIMEOUT, MAGIC_CLOSE, OpenWatchdog, WatchdogDevice, WatchdogSupport, may_write};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kernel's first watchdog.
const USUAL_DEVICE: &str = "/dev/watchdog";
/// What the kernel takes.
const LONGEST_TIMEOUT: i64 = 0xFFFF;

/// A step on a device that failed, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DeviceError(pub String);

/// How a driver opens its devices.
pub type OpenDevice = Arc<dyn Fn(&Path) -> io::Result<Box<dyn OpenWatchdog>> + Send + Sync>;

/// The driver of this name: `default` or `testing`. `None`: there is none.
#[must_use]
pub fn driver(name: &str) -> Option<OpenDevice> {
    match name {
        "default" => Some(Arc::new(|path| Ok(Box::new(WatchdogDevice::open(path)?)))),
        "testing" => Some(Arc::new(|path| Ok(Box::new(TestingFile::open(path)?)))),
        _ => None,
    }
}

/// A device that may be open.
pub(super) struct Device {
    path: PathBuf,
    driver: OpenDevice,
    file: Option<Box<dyn OpenWatchdog>>,
    support: Option<WatchdogSupport>,
}

impl Device {
    /// A device that is not open.
    pub fn new(path: PathBuf, driver: OpenDevice) -> Self {
        Self { path, driver, file: None, support: None }
    }

    /// It is open, and counts.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Opening it is not known to fail.
    pub fn is_usable(&self) -> bool {
        may_write(&self.path)
    }

    /// Opens it, which arms it.
    pub fn open(&mut self) -> Result<(), DeviceError> {
        let file = (self.driver)(&self.path);
        let file = file.map_err(|e| DeviceError(format!("Can't open watchdog device: {}", shown(&e, &self.path))))?;
        self.file = Some(file);
        Ok(())
    }

    /// Disarms it, where it can be, and closes it. After an error it is open still.
    pub fn close(&mut self) -> Result<(), DeviceError> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        if let Err(error) = file.write(b"V") {
            let name = self.describe();
            return Err(DeviceError(format!("Error while closing {name}: {}", shown(&error, &self.path))));
        }
        self.file = None;
        Ok(())
    }

    /// Feeds it.
    pub fn keepalive(&mut self) -> Result<(), DeviceError> {
        let path = self.path.clone();
        let written = self.opened()?.write(b"1");
        written.map_err(|e| DeviceError(format!("Could not send watchdog keepalive: {}", shown(&e, &path))))
    }

    /// Closing it disarms it.
    pub fn can_be_disabled(&mut self) -> Result<bool, DeviceError> {
        Ok(self.support()?.options & MAGIC_CLOSE != 0)
    }

    /// Its time-out can be set.
    pub fn can_set_timeout(&mut self) -> Result<bool, DeviceError> {
        Ok(self.support()?.options & CAN_SET_TIMEOUT != 0)
    }

    /// Sets its time-out.
    pub fn set_timeout(&mut self, seconds: i64) -> Result<(), DeviceError> {
        let value = i32::try_from(seconds).ok().filter(|_| 0 < seconds && seconds < LONGEST_TIMEOUT);
        let value = value.ok_or_else(|| {
            DeviceError(format!("Invalid timeout {seconds}. Supported values are between 1 and 65535"))
        })?;
        let path = self.path.clone();
        let set = self.opened()?.set_timeout(value);
        set.map_err(|e| DeviceError(format!("Could not set timeout on watchdog device: {}", shown(&e, &path))))
    }

    /// The time-out in force.
    pub fn timeout(&mut self) -> Result<i64, DeviceError> {
        let path = self.path.clone();
        let read = self.opened()?.timeout();
        read.map(i64::from)
            .map_err(|e| DeviceError(format!("Could not get timeout on watchdog device: {}", shown(&e, &path))))
    }

    /// Its name for people.
    pub fn describe(&mut self) -> String {
        let place = self.path.display().to_string();
        let place = if place == USUAL_DEVICE { String::new() } else { format!(" at {place}") };
        match self.file.is_some().then(|| self.support()) {
            Some(Ok(WatchdogSupport { identity, firmware, .. })) => {
                let firmware = if firmware > 0 { format!(" (firmware {firmware})") } else { String::new() };
                format!("{identity}{firmware}{place}")
            }
            _ => format!("Linux watchdog device{place}"),
        }
    }

    fn opened(&mut self) -> Result<&mut Box<dyn OpenWatchdog>, DeviceError> {
        self.file.as_mut().ok_or_else(|| DeviceError("Watchdog device is closed".to_owned()))
    }

    fn support(&mut self) -> Result<WatchdogSupport, DeviceError> {
        if let Some(support) = &self.support {
            return Ok(support.clone());
        }
        let failed = |reason: String| DeviceError(format!("Could not get information about watchdog device: {reason}"));
        let path = self.path.clone();
        let file = self.opened().map_err(|e| failed(e.0))?;
        let support = file.support().map_err(|e| failed(shown(&e, &path)))?;
        self.support = Some(support.clone());
        Ok(support)
    }
}

/// The reason with the file that it is about.
fn shown(error: &io::Error, path: &Path) -> String {
    format!("{error}: '{}'", path.display())
}

/// The `testing` driver: what would be a call to the driver is written into the file (a named pipe) instead.
struct TestingFile {
    file: File,
    timeout: i32,
}

impl TestingFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().write(true).open(path)?, timeout: 60 })
    }
}

impl OpenWatchdog for TestingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn support(&self) -> io::Result<WatchdogSupport> {
        let identity = "Watchdog test harness".to_owned();
        Ok(WatchdogSupport { options: MAGIC_CLOSE | CAN_SET_TIMEOUT, firmware: 0, identity })
    }

    fn set_timeout(&mut self, seconds: i32) -> io::Result<()> {
        self.file.write_all(format!("Ctimeout={seconds}\n").as_bytes())?;
        self.timeout = seconds;
        Ok(())
    }

    fn timeout(&self) -> io::Result<i32> {
        Ok(self.timeout)
    }
}
