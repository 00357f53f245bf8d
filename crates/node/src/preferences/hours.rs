//! Hours of the week: `mon-fri 18:00-08:00, sat-sun`.
//!
//! Days without a time are whole, a time without days is every day's, and a time that ends before it
//! begins ends on the next day.
//!
//! Not here: time zones; a minute of the week is local.

/// Minutes of a week.
pub const WEEK: u16 = 7 * DAY;
/// Entries of one setting, at most.
pub const ENTRIES_MAX: usize = 32;
/// What a setting must be.
pub const WANTED: &str =
    "up to 32 entries of days and hours, comma-separated, such as `mon-fri 18:00-08:00, sat-sun`";

const DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Which minutes of the week there is work in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// As it was written.
    text: String,
    /// For each minute from Monday 00:00.
    minutes: Vec<bool>,
}

impl Hours {
    /// Reads hours; `None` if they are not written as `WANTED` says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Hours> {
        let mut minutes = vec![false; usize::from(WEEK)];
        let entries: Vec<&str> = text.split(',').collect();
        if entries.len() > ENTRIES_MAX {
            return None;
        }
        for entry in entries {
            let (days, (from, to)) = read(entry.trim())?;
            for day in days {
                let end = if to <= from { to + DAY } else { to };
                for minute in from..end {
                    let minute = (day * DAY + minute) % WEEK;
                    *minutes.get_mut(usize::from(minute))? = true;
                }
            }
        }
        Some(Hours { text: text.to_owned(), minutes })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is work in this minute of the week.
    #[must_use]
    pub fn contain(&self, minute: u16) -> bool {
        self.minutes.get(usize::from(minute % WEEK)).copied().unwrap_or(false)
    }

    /// Minutes until that is no longer so; `None` if it stays so all week.
    #[must_use]
    pub fn change_after(&self, minute: u16) -> Option<u16> {
        let now = self.contain(minute);
        (1..WEEK).find(|later| self.contain((minute % WEEK + later) % WEEK) != now)
    }
}

/// A minute of the week as a person says it: `Tue 18:00`.
#[must_use]
pub fn name(minute: u16) -> String {
    let day = match minute % WEEK / DAY {
        0 => "Mon",
        1 => "Tue",
        2 => "Wed",
        3 => "Thu",
        4 => "Fri",
        5 => "Sat",
        _ => "Sun",
    };
    format!("{day} {:02}:{:02}", minute % DAY / 60, minute % 60)
}

type Entry = (Vec<u16>, (u16, u16));

fn read(entry: &str) -> Option<Entry> {
    let whole = (0, DAY);
    let mut words = entry.split_ascii_whitespace();
    let (first, second) = (words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    match (days(first), second) {
        (Some(days), None) => Some((days, whole)),
        (Some(days), Some(times)) => Some((days, span(times)?)),
        (None, None) => Some(((0..7).collect(), span(first)?)),
        (None, Some(_)) => None,
    }
}

fn days(text: &str) -> Option<Vec<u16>> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (day(from)?, day(to)?);
    let count = (to + 7 - from) % 7 + 1;
    Some((0..count).map(|it| (from + it) % 7).collect())
}

fn day(text: &str) -> Option<u16> {
    let found = DAYS.iter().position(|day| text.eq_ignore_ascii_case(day))?;
    u16::try_from(found).ok()
}

fn span(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (time(from)?, time(to)?);
    (from < DAY && from != to).then_some((from, to))
}

/// A time of the day, in minutes; the day ends at 24:00.
fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |word: &str| word.len() == 2 && word.bytes().all(|it| it.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}
