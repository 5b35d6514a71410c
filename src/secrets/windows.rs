//! Pure: `syncWindows`: when refreshes that the interval asks for may happen.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cron::Schedule;
use jiff::Timestamp;

use crate::api::external_secret::{SyncWindow, SyncWindowKind, SyncWindows};
use crate::schedule::parse_duration;

/// Whether a refresh may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    Open,
    /// Not now; it is worth looking again after this wait.
    Closed(Duration),
}

/// No wait is longer: schedules that never come round again are looked at once a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Tells whether a refresh may happen now. Windows that make no sense are as if they were not there.
pub(crate) fn window(windows: &SyncWindows, now: Timestamp) -> Window {
    let parsed: Vec<Parsed> = windows.windows.iter().filter_map(Parsed::of).collect();
    let ends: Vec<Duration> = parsed
        .iter()
        .filter_map(|window| window.open_for(now))
        .collect();
    match (windows.kind, ends.iter().max()) {
        (SyncWindowKind::Allow, Some(_)) | (SyncWindowKind::Deny, None) => Window::Open,
        (SyncWindowKind::Deny, Some(end)) => {
            // Inclusive: at its last moment the window still holds.
            Window::Closed((*end + Duration::from_millis(1)).min(LONGEST))
        }
        (SyncWindowKind::Allow, None) => {
            let next = parsed
                .iter()
                .filter_map(|window| window.opens_in(now))
                .min();
            Window::Closed(next.unwrap_or(LONGEST).min(LONGEST))
        }
    }
}

/// A window that makes sense.
struct Parsed {
    times: Times,
    duration: Duration,
}

enum Times {
    /// As cron has it: with both a day of the month and a day of the week, either will do.
    Cron(Vec<Schedule>),
    Every(Duration),
}

impl Parsed {
    fn of(window: &SyncWindow) -> Option<Self> {
        Some(Self {
            times: Times::of(window.schedule.trim())?,
            duration: parse_duration(&window.duration)?,
        })
    }

    /// The first start after a time.
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Every(every) => time.checked_add(*every).ok(),
            Times::Cron(schedules) => {
                let time: DateTime<Utc> = DateTime::from_timestamp(time.as_second(), 0)?;
                let next = schedules
                    .iter()
                    .filter_map(|schedule| schedule.after(&time).next());
                Timestamp::from_second(next.min()?.timestamp()).ok()
            }
        }
    }

    /// How long the window that is open now stays so.
    fn open_for(&self, now: Timestamp) -> Option<Duration> {
        // A start just after `now - duration` is one whose window has not ended.
        let from = now.checked_sub(self.duration).ok()?;
        let from = from.checked_sub(Duration::from_secs(1)).ok()?;
        let mut start = self.after(from)?;
        let mut end = None;
        // Windows of one schedule may overlap; the last that has begun ends last.
        for _ in 0..1000 {
            if start > now {
                break;
            }
            let left = start.checked_add(self.duration).ok()?.duration_since(now);
            end = Duration::try_from(left).ok().or(end);
            start = self.after(start)?;
        }
        end
    }

    fn opens_in(&self, now: Timestamp) -> Option<Duration> {
        Duration::try_from(self.after(now)?.duration_since(now)).ok()
    }
}

impl Times {
    fn of(text: &str) -> Option<Self> {
        if let Some(every) = text.strip_prefix("@every ") {
            let every = parse_duration(every.trim())?.max(Duration::from_secs(1));
            return Some(Self::Every(every));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let schedule = |day: &str, weekday: &str| {
            let text = format!("0 {minute} {hour} {day} {month} {weekday}");
            Schedule::from_str(&text).ok()
        };
        let days = weekdays(weekday)?;
        let any = |field: &str| matches!(field, "*" | "?");
        let schedules = if any(day) || any(weekday) {
            vec![schedule(day, &days)?]
        } else {
            vec![schedule(day, "*")?, schedule("*", &days)?]
        };
        Some(Self::Cron(schedules))
    }
}

/// Days of the week as names: numbers count from Sunday, which is 0 (and 7), unlike in the library.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    if matches!(field, "*" | "?") {
        return Some("*".to_owned());
    }
    let day = |text: &str| {
        let named = NAMES
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        named.or_else(|| text.parse().ok().filter(|day| *day <= 7))
    };
    let mut names: Vec<&str> = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (day(from)?, day(to)?),
            None if range == "*" => (0, 6),
            None if part.contains('/') => (day(range)?, 6),
            None => (day(range)?, day(range)?),
        };
        if from > to {
            return None;
        }
        names.extend((from..=to).step_by(step).map(|day| NAMES[day % 7]));
    }
    Some(names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: SyncWindowKind, windows: &[(&str, &str)], now: &str, expected: &str) {
        let windows = windows.iter().map(|(schedule, duration)| SyncWindow {
            schedule: (*schedule).to_owned(),
            duration: (*duration).to_owned(),
        });
        let windows = SyncWindows {
            kind,
            windows: windows.collect(),
        };
        let text = match window(&windows, now.parse().unwrap()) {
            Window::Open => "open".to_owned(),
            Window::Closed(wait) => format!("closed for {} s", wait.as_secs()),
        };
        assert_eq!(text, expected, "{windows:?} at {now}");
    }

    #[test]
    fn windows_open_and_close_at_their_edges() {
        use SyncWindowKind::{Allow, Deny};
        let night = &[("0 2 * * *", "1h")];
        // 2026-01-01 is a Thursday.
        check(Allow, night, "2026-01-01T01:59:59Z", "closed for 1 s");
        check(Allow, night, "2026-01-01T02:00:00Z", "open");
        check(Allow, night, "2026-01-01T03:00:00Z", "open");
        check(Allow, night, "2026-01-01T03:00:01Z", "closed for 82799 s");
        check(Deny, night, "2026-01-01T01:59:59Z", "open");
        check(Deny, night, "2026-01-01T02:59:00Z", "closed for 60 s");
        check(Deny, night, "2026-01-01T03:00:01Z", "open");
    }

    #[test]
    fn schedules_as_kubernetes_writes_them() {
        use SyncWindowKind::Allow;
        let thursday = "2026-01-01T12:00:00Z";
        for (schedule, expected) in [
            ("0 12 * * 4", "open"),
            ("0 12 * * thu", "open"),
            ("0 12 * * 1-5", "open"),
            ("0 12 * * 5,4", "open"),
            ("0 12 * * */2", "open"),
            ("0 12 * * 0", "closed for 86400 s"),
            ("0 12 * * 7", "closed for 86400 s"),
            // Either day will do.
            ("0 12 1 * 0", "open"),
            ("0 12 2 * 4", "open"),
            ("0 12 2 * *", "closed for 86400 s"),
            ("@daily", "closed for 43200 s"),
            ("@every 10m", "open"),
            ("@every 2h", "closed for 7200 s"),
            ("nonsense", "closed for 86400 s"),
            ("0 12 * * 5-4", "closed for 86400 s"),
            ("61 * * * *", "closed for 86400 s"),
        ] {
            check(Allow, &[(schedule, "30m")], thursday, expected);
        }
        check(
            Allow,
            &[("nonsense", "1h"), ("0 12 * * *", "1h")],
            thursday,
            "open",
        );
    }
}
