//! Pure: `syncWindows`: when periodic refreshes may happen.

use jiff::Timestamp;

use crate::api::external_secret::{SyncWindow, SyncWindowKind, SyncWindows};
use crate::cron_windows::{Recurring, Window, Windows};

/// Whether a periodic refresh may happen now. A window with an invalid schedule or duration is ignored, as External Secrets
/// does.
pub fn window(windows: &SyncWindows, now: Timestamp) -> Window {
    let parsed = windows.windows.iter().filter_map(parse);
    let open = parsed.collect::<Windows>();
    match windows.kind {
        SyncWindowKind::Allow => open.allow(now),
        SyncWindowKind::Deny => open.deny(now),
    }
}

fn parse(window: &SyncWindow) -> Option<Recurring> {
    Recurring::new(&window.schedule, &window.duration, None)
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
