//! What each frame means (RFC 9113 §6), but for those that carry heads.

use super::entry::Wanted;
use super::output::WORTH_A_FRAME;
use super::{Fault, Phase, Role, Session};
use crate::http2::error::{Abuse, ErrorCode, StreamError};
use crate::http2::frame::{
    ACK, CONTINUATION, DATA, ENABLE_CONNECT_PROTOCOL, ENABLE_PUSH, END_STREAM, GOAWAY, HEADERS,
    HIGHEST_ID, Header, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME, MAX_FRAME_SIZE,
    PADDED, PING, PRIORITY, PRIORITY_UPDATE, PUSH_PROMISE, RST_STREAM, SETTING, SETTINGS,
    WINDOW_UPDATE, write_ping, write_settings_ack, write_window_update,
};
use crate::time::Instant;

impl Session {
    pub(super) fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Fault> {
        match header.kind {
            DATA => self.data(header, payload, now),
            HEADERS => self.headers(header, payload, now),
            CONTINUATION => self.continuation(header, payload, now),
            PRIORITY => self.priority(header, payload, now),
            RST_STREAM => self.reset_came(header, payload, now),
            SETTINGS => self.settings_came(header, payload, now),
            PUSH_PROMISE => Err(Fault::protocol("PUSH_PROMISE, which is not allowed")),
            PING => self.ping_came(header, payload, now),
            GOAWAY => self.goaway_came(header, payload, now),
            WINDOW_UPDATE => self.window_came(header, payload, now),
            PRIORITY_UPDATE => self.spend(Abuse::Priority, now),
            _ => self.spend(Abuse::UnknownFrame, now),
        }
    }

    fn data(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        self.check_known(header.id, "DATA")?;
        let data = unpadded(header, payload)?;
        if self.receive.came(payload.len()).is_err() {
            let code = ErrorCode::FLOW_CONTROL_ERROR;
            return Err(Fault::of(code, "DATA beyond the connection's window"));
        }
        let ends = header.has(END_STREAM);
        if data.is_empty() && !ends {
            self.spend(Abuse::EmptyData, now)?;
        }
        // Given back at once, so that a stream whose body nobody takes holds back no other: what
        // waits is bounded by the windows of the streams, and their number.
        if let Some(told) = self.receive.taken(payload.len()) {
            write_window_update(self.out(), 0, told);
        }
        let padding = payload.len() - data.len();
        let Some(entry) = self.streams.get(header.id) else {
            return self.came_too_late(header, data.is_empty(), now);
        };
        if entry.has_received || entry.is_reset_by_them() {
            return self.spoil(header.id, ErrorCode::STREAM_CLOSED, now);
        }
        if entry.error.is_some() {
            if entry.ends_late {
                return self.spoil(header.id, ErrorCode::STREAM_CLOSED, now);
            }
            // We have reset it. What its window has room for may have been under way by then.
            entry.ends_late = ends;
            return match entry.receive.came(payload.len()) {
                Ok(()) => Ok(()),
                Err(_) => self.spend(Abuse::EmptyData, now),
            };
        }
        let fault = if entry.receive.came(payload.len()).is_err() {
            Some(ErrorCode::FLOW_CONTROL_ERROR)
        } else if !entry.takes(data.len() as u64, ends) {
            Some(ErrorCode::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(code) = fault {
            return self.spoil(header.id, code, now);
        }
        entry.body.extend_from_slice(data);
        entry.received += data.len() as u64;
        entry.has_received = ends;
        entry.wake(Wanted::Body);
        if padding > 0
            && let Some(told) = entry.receive.taken(padding)
            && !ends
        {
            write_window_update(self.out(), header.id, told);
        }
        self.moved.received += data.len() as u64;
        if ends || data.len() >= WORTH_A_FRAME {
            self.budget.earn();
        } else {
            self.budget.earn_by(data.len());
        }
        Ok(())
    }

    fn priority(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        self.spend(Abuse::Priority, now)?;
        // What it says means nothing any more (RFC 9113 §5.3.2); that it is well-formed does.
        let code = match payload.try_into().map(parent) {
            Err(_) => ErrorCode::FRAME_SIZE_ERROR,
            Ok(parent) if parent == header.id => ErrorCode::PROTOCOL_ERROR,
            Ok(_) => return Ok(()),
        };
        // A stream that is idle must not be reset (RFC 9113 §6.4).
        if self.check_known(header.id, "PRIORITY").is_err() {
            return Err(Fault::of(code, "a malformed PRIORITY"));
        }
        self.spoil(header.id, code, now)
    }

    fn reset_came(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        let code = ErrorCode(number(payload, "RST_STREAM")?);
        self.check_known(header.id, "RST_STREAM")?;
        let role = self.role;
        let Some(entry) = self.streams.get(header.id) else {
            return self.reset_too_late(header.id, now);
        };
        if entry.error.is_some() {
            return self.spend(Abuse::RapidReset, now);
        }
        if role == Role::Client && entry.has_received {
            // The response is whole, and no more of the request is wanted (RFC 9113 §8.1).
            entry.has_sent = true;
            entry.wake(Wanted::Room);
            self.leave_queue(header.id);
            return Ok(());
        }
        entry.fail(match code {
            ErrorCode::REFUSED_STREAM if !entry.has_head => StreamError::Unprocessed,
            code => StreamError::Reset(code),
        });
        let is_answered = entry.has_sent;
        // Whoever holds it may not ask for room again, and must not keep a turn.
        self.leave_queue(header.id);
        self.resets.by_them += 1;
        if is_answered {
            // It costs nobody any work.
            return Ok(());
        }
        self.spend(Abuse::RapidReset, now)
    }

    fn settings_came(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        if header.id != 0 {
            return Err(Fault::protocol("SETTINGS on a stream"));
        }
        let size = |why| Err(Fault::of(ErrorCode::FRAME_SIZE_ERROR, why));
        if header.has(ACK) {
            if !payload.is_empty() {
                return size("an acknowledgement of SETTINGS with content");
            }
            if !std::mem::take(&mut self.awaits_settings) {
                self.spend(Abuse::Settings, now)?;
            }
            return Ok(());
        }
        if !payload.len().is_multiple_of(SETTING) {
            return size("SETTINGS of a broken length");
        }
        if self.phase == Phase::Settings {
            self.phase = Phase::Open;
        } else {
            self.spend(Abuse::Settings, now)?;
        }
        // Each of them may change all streams.
        for _ in 0..payload.len() / (SETTING * MANY_SETTINGS) {
            self.spend(Abuse::Settings, now)?;
        }
        if !self.peer.is_settled {
            // What is not limited here is allowed.
            self.peer.max_streams = u32::MAX;
        }
        for setting in payload.chunks_exact(SETTING) {
            if let &[a, b, c, d, e, f] = setting {
                self.set(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))?;
            }
        }
        self.peer.is_settled = true;
        write_settings_ack(self.out());
        Ok(())
    }

    fn set(&mut self, id: u16, value: u32) -> Result<(), Fault> {
        match id {
            ENABLE_PUSH if value > 1 || (value == 1 && self.role == Role::Client) => Err(
                Fault::protocol("ENABLE_PUSH with a value that it cannot have"),
            ),
            MAX_CONCURRENT_STREAMS => {
                self.peer.max_streams = value;
                Ok(())
            }
            INITIAL_WINDOW_SIZE => self.set_window(value),
            MAX_FRAME_SIZE => {
                let most = (1 << 24) - 1;
                let size = value as usize;
                if !(MAX_FRAME..=most).contains(&size) {
                    return Err(Fault::protocol("MAX_FRAME_SIZE outside of its bounds"));
                }
                // Larger frames would hold other streams up.
                self.peer.max_frame = size.min(MAX_FRAME);
                Ok(())
            }
            ENABLE_CONNECT_PROTOCOL if value > 1 => Err(Fault::protocol(
                "ENABLE_CONNECT_PROTOCOL with a value that it cannot have",
            )),
            ENABLE_CONNECT_PROTOCOL => {
                self.peer.connect_protocol = value == 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The windows of all streams change with the setting (RFC 9113 §6.9.2).
    fn set_window(&mut self, size: u32) -> Result<(), Fault> {
        let fault = Fault::of(ErrorCode::FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1");
        if size > HIGHEST_ID {
            return Err(fault);
        }
        let by = i64::from(size) - i64::from(self.peer.initial_window);
        self.peer.initial_window = size;
        for (_, entry) in self.streams.each() {
            entry.send.grow(by).map_err(|_| fault)?;
            if by > 0 {
                entry.wake(Wanted::Room);
            }
        }
        Ok(())
    }

    fn ping_came(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        if header.id != 0 {
            return Err(Fault::protocol("PING on a stream"));
        }
        let Ok(payload) = payload.try_into() else {
            let code = ErrorCode::FRAME_SIZE_ERROR;
            return Err(Fault::of(code, "PING of another length than 8"));
        };
        if header.has(ACK) {
            if !std::mem::take(&mut self.awaits_pong) {
                self.spend(Abuse::Ping, now)?;
            }
            return Ok(());
        }
        self.spend(Abuse::Ping, now)?;
        write_ping(self.out(), true, payload);
        Ok(())
    }

    fn goaway_came(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        if header.id != 0 {
            return Err(Fault::protocol("GOAWAY on a stream"));
        }
        if self.left_after.is_some() {
            self.spend(Abuse::UnknownFrame, now)?;
        }
        let parts = payload.split_first_chunk::<4>();
        let parts = parts.and_then(|(last, rest)| Some((last, rest.split_first_chunk::<4>()?)));
        let Some((last, (code, text))) = parts else {
            let code = ErrorCode::FRAME_SIZE_ERROR;
            return Err(Fault::of(code, "GOAWAY shorter than 8"));
        };
        let last = u32::from_be_bytes(*last) & HIGHEST_ID;
        self.left_after = Some(last);
        if self.role == Role::Client {
            let code = ErrorCode(u32::from_be_bytes(*code));
            // Said of the connection, it holds for what was to be done on it (RFC 9113 §7).
            let error = match code {
                ErrorCode::HTTP_1_1_REQUIRED => StreamError::Reset(code),
                _ => StreamError::Unprocessed,
            };
            let mut failed = Vec::new();
            for (id, entry) in self.streams.each() {
                if id > last {
                    entry.fail(error);
                    failed.push(id);
                }
            }
            for id in failed {
                self.leave_queue(id);
            }
            let text = &text[..text.len().min(LONGEST_REASON)];
            self.goodbye = Some((code, text.escape_ascii().to_string().into()));
        }
        Ok(())
    }

    fn window_came(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Fault> {
        let by = number(payload, "WINDOW_UPDATE")? & HIGHEST_ID;
        if !self.budget.pays_window() {
            self.spend(Abuse::WindowUpdate, now)?;
        }
        let overflow = ErrorCode::FLOW_CONTROL_ERROR;
        if header.id == 0 {
            if by == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE of 0"));
            }
            let grown = self.send.grow(i64::from(by));
            grown.map_err(|_| Fault::of(overflow, "a window beyond 2^31 - 1"))?;
            self.call();
            return Ok(());
        }
        self.check_known(header.id, "WINDOW_UPDATE")?;
        let Some(entry) = self.streams.get(header.id) else {
            return Ok(());
        };
        if by == 0 {
            return self.spoil(header.id, ErrorCode::PROTOCOL_ERROR, now);
        }
        if entry.send.grow(i64::from(by)).is_err() {
            return self.spoil(header.id, overflow, now);
        }
        entry.wake(Wanted::Room);
        Ok(())
    }

    /// A frame on a stream that nobody has opened breaks the connection (RFC 9113 §5.1).
    pub(super) fn check_known(&self, id: u32, frame: &'static str) -> Result<(), Fault> {
        let is_theirs = id % 2 == u32::from(self.role == Role::Server);
        let is_known = match (is_theirs, self.role) {
            _ if id == 0 => false,
            // What is opened once we have taken our last one is ignored, and so is what follows on
            // it (RFC 9113 §6.8).
            (true, _) if self.refuses(id) => true,
            (true, _) => id <= self.last,
            (false, _) => id < self.next,
        };
        if is_known {
            return Ok(());
        }
        Err(Fault::protocol(match frame {
            "DATA" => "DATA on a stream that is not open",
            "RST_STREAM" => "RST_STREAM on a stream that is not open",
            "WINDOW_UPDATE" => "WINDOW_UPDATE on a stream that is not open",
            _ => "a frame on a stream that is not open",
        }))
    }
}

/// The data of a frame that may be padded (RFC 9113 §6.1).
pub(super) fn unpadded(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    if !header.has(PADDED) {
        return Ok(payload);
    }
    let Some((&padding, rest)) = payload.split_first() else {
        let code = ErrorCode::FRAME_SIZE_ERROR;
        return Err(Fault::of(code, "a padded frame without its length"));
    };
    let data = rest.len().checked_sub(usize::from(padding));
    let length = data.ok_or(Fault::protocol("more padding than payload"))?;
    Ok(&rest[..length])
}

/// The stream that another depends on.
fn parent([a, b, c, d, _]: [u8; 5]) -> u32 {
    u32::from_be_bytes([a, b, c, d]) & HIGHEST_ID
}

/// The payload of a frame that is one number.
fn number(payload: &[u8], frame: &'static str) -> Result<u32, Fault> {
    let bytes = payload.try_into().map_err(|_| {
        let why = match frame {
            "RST_STREAM" => "RST_STREAM of another length than 4",
            _ => "WINDOW_UPDATE of another length than 4",
        };
        Fault::of(ErrorCode::FRAME_SIZE_ERROR, why)
    })?;
    Ok(u32::from_be_bytes(bytes))
}

/// Bytes of what an endpoint says at its end that are told.
const LONGEST_REASON: usize = 128;

/// Settings in one frame that are as much as a frame of them: there are fewer than ten.
const MANY_SETTINGS: usize = 64;
