//! What was learned about an endpoint's idle time, as it outlives the process.

use serde::{Deserialize, Serialize};

use super::{
    BELIEVED_FOR, IdleClose, LONGEST, Learned, MOST_DOUBLINGS, SUSPECTED_FOR, Setting, Suspicion,
};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::endpoint) struct KeptIdle {
    setting: Option<KeptSetting>,
    suspicion: Option<KeptSuspicion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSetting {
    idle_ms: u64,
    confirmations: u32,
    last_report_ms: u64,
    left_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSuspicion {
    idle_ms: u64,
    reported_ms: u64,
}

impl IdleClose {
    /// What is to be kept, if anything is believed.
    pub(in crate::endpoint) fn kept(&self, now: u64) -> Option<KeptIdle> {
        let learned = self.learned.lock().ok()?;
        learned.belief(now)?;
        Some(KeptIdle {
            setting: learned.setting.map(|setting| KeptSetting {
                idle_ms: setting.idle,
                confirmations: setting.confirmations,
                last_report_ms: now.saturating_sub(setting.last_report),
                left_ms: setting.until.saturating_sub(now),
            }),
            suspicion: learned.suspicion.map(|suspicion| KeptSuspicion {
                idle_ms: suspicion.idle,
                reported_ms: now.saturating_sub(suspicion.reported),
            }),
        })
    }

    /// Goes on from what was kept so many milliseconds ago. It is believed for as long as it would
    /// have been.
    pub(in crate::endpoint) fn resume(&self, kept: &KeptIdle, age: u64, now: u64) {
        let Ok(mut learned) = self.learned.lock() else {
            return; // a panic while learning: the default holds
        };
        let ago = |millis: u64| now.saturating_sub(millis.saturating_add(age));
        *learned = Learned {
            setting: kept.setting.map(|setting| Setting {
                idle: setting.idle_ms.min(LONGEST),
                confirmations: setting.confirmations.min(MOST_DOUBLINGS),
                last_report: ago(setting.last_report_ms),
                until: now + setting.left_ms.min(LONGEST_BELIEF).saturating_sub(age),
            }),
            // One that was made before any moment that is told here is over.
            suspicion: kept
                .suspicion
                .filter(|suspicion| suspicion.reported_ms.saturating_add(age) <= SUSPECTED_FOR)
                .map(|suspicion| Suspicion {
                    idle: suspicion.idle_ms.min(LONGEST),
                    reported: ago(suspicion.reported_ms),
                }),
        };
        self.publish(&learned, now);
    }
}

/// In milliseconds.
const LONGEST_BELIEF: u64 = BELIEVED_FOR << MOST_DOUBLINGS;
