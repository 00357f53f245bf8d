//! Stop strings: where an answer ends because of its own text.
//!
//! The text comes in pieces. The answer ends at the first byte at which any stop string is
//! complete; if two are complete there, the longer one counts. Nothing of that stop string is
//! released, and no byte that may still belong to one is released before that is settled.
//! Each stop string is followed by the automaton of Knuth, Morris and Pratt (1977), so the work is
//! linear in the text however it is cut into pieces.
//!
//! Invariants:
//! - The released text is the same for every way of cutting the text into pieces.
//! - Released pieces are whole characters.
//!
//! Not here: tokens; limits on the strings (`parameters`).

/// Follows the text of one answer.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<Automaton>,
    held: String,
    /// Bytes of the stop string that is complete, with which `held` then begins.
    complete: usize,
}

/// What one piece of text lets go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Text that is certainly before any stop string.
    pub text: String,
    /// Whether a stop string is complete. Nothing may be pushed after that.
    pub stopped: bool,
}

#[derive(Clone, Debug)]
struct Automaton {
    pattern: Vec<u8>,
    /// For each length of a matched prefix, the length of its longest border.
    borders: Vec<usize>,
    /// Bytes of the pattern that the text so far ends with.
    matched: usize,
}

impl StopMatcher {
    /// A matcher for these strings; empty ones never match.
    #[must_use]
    pub fn new(stops: &[String]) -> StopMatcher {
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        let stops = stops.map(|stop| Automaton::new(stop)).collect();
        StopMatcher { stops, held: String::new(), complete: 0 }
    }

    /// Takes the next piece of the answer.
    pub fn push(&mut self, text: &str) -> Released {
        let before = self.held.len();
        self.held.push_str(text);
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            let complete = self.stops.iter_mut().filter_map(|stop| stop.step(byte)).max();
            if let Some(size) = complete {
                // The stop string ends after this byte, and all of it is still held.
                let start = (before + index + 1).saturating_sub(size);
                self.complete = size;
                return Released { text: self.release(start), stopped: true };
            }
        }
        let pending = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let text = self.release(self.held.len().saturating_sub(pending));
        Released { text, stopped: false }
    }

    /// The stop string that is complete, if one is.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.held.get(..self.complete).filter(|stop| !stop.is_empty())
    }

    /// The answer ended by itself: what was held back is text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    fn release(&mut self, size: usize) -> String {
        let rest = self.held.split_off(size);
        std::mem::replace(&mut self.held, rest)
    }
}

impl Automaton {
    fn new(pattern: &str) -> Automaton {
        let pattern = pattern.as_bytes().to_vec();
        let mut borders = vec![0; pattern.len() + 1];
        let mut border = 0;
        for index in 1..pattern.len() {
            while border > 0 && pattern[index] != pattern[border] {
                border = borders[border];
            }
            border += usize::from(pattern[index] == pattern[border]);
            borders[index + 1] = border;
        }
        Automaton { pattern, borders, matched: 0 }
    }

    /// Takes one byte; the pattern's size if that completes it.
    fn step(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.pattern.get(self.matched) != Some(&byte) {
            self.matched = self.borders[self.matched];
        }
        self.matched += usize::from(self.pattern.get(self.matched) == Some(&byte));
        (self.matched == self.pattern.len()).then_some(self.matched)
    }
}

#[cfg(test)]
mod tests;
