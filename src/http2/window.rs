//! Windows of flow control (RFC 9113 §5.2, §6.9).

use super::frame::{DEFAULT_WINDOW, HIGHEST_ID};

/// How much may be sent. Below zero after the other end has made it smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SendWindow(i64);

/// How much may come, and how much of it was taken and can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    /// What the other end knows that it may send.
    open: i64,
    /// Taken, and not told yet.
    owed: u32,
    /// What it is when nothing waits to be taken.
    size: u32,
}

/// A window would grow beyond 2³¹ − 1, or was overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflow;

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Bytes that may be sent now.
    pub(super) fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(super) fn take(&mut self, count: usize) {
        self.0 -= i64::try_from(count).unwrap_or(i64::MAX);
    }

    /// Grows, or becomes smaller where the setting did.
    pub(super) fn grow(&mut self, by: i64) -> Result<(), Overflow> {
        let grown = self.0 + by;
        if grown > i64::from(HIGHEST_ID) {
            return Err(Overflow);
        }
        self.0 = grown;
        Ok(())
    }
}

impl ReceiveWindow {
    /// A window whose size the other end knows or is about to be told; until it is, it takes it
    /// for the default.
    pub(super) fn new(size: u32) -> Self {
        Self {
            open: i64::from(size.max(DEFAULT_WINDOW)),
            owed: 0,
            size,
        }
    }

    /// Bytes that the other end may send, as far as it knows.
    pub(super) fn room(self) -> u32 {
        u32::try_from(self.open).unwrap_or(0)
    }

    /// Whether so many bytes may come before it is told again.
    pub(super) fn holds(self, count: u64) -> bool {
        i64::try_from(count).is_ok_and(|count| count <= self.open)
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, count: usize) -> Result<(), Overflow> {
        let left = self.open - i64::try_from(count).unwrap_or(i64::MAX);
        if left < 0 {
            return Err(Overflow);
        }
        self.open = left;
        Ok(())
    }

    /// So many of them were taken. What is to be told now, if it is worth a frame.
    pub(super) fn taken(&mut self, count: usize) -> Option<u32> {
        self.owed = self
            .owed
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.owed < self.size / 2 {
            return None;
        }
        let told = std::mem::take(&mut self.owed);
        self.open += i64::from(told);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_is_bounded_and_may_be_below_zero() {
        let mut window = SendWindow::new(DEFAULT_WINDOW);
        assert_eq!(window.grow(i64::from(HIGHEST_ID)), Err(Overflow));
        window.take(65_535);
        assert_eq!(window.room(), 0);
        assert_eq!(window.grow(-10), Ok(()));
        assert_eq!(window.room(), 0);
        assert_eq!(window.grow(11), Ok(()));
        assert_eq!(window.room(), 1);
    }

    #[test]
    fn a_receive_window_is_told_by_halves() {
        let mut window = ReceiveWindow::new(100_000);
        assert_eq!(window.came(100_001), Err(Overflow));
        assert_eq!(window.came(100_000), Ok(()));
        assert_eq!(window.came(1), Err(Overflow));
        assert_eq!(window.taken(49_999), None);
        assert_eq!(window.taken(2), Some(50_001));
        assert_eq!(window.came(50_001), Ok(()));
        assert_eq!(window.came(1), Err(Overflow));
    }
}
