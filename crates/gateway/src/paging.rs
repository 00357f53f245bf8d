//! Lists in pages: `limit`, `order` and `after`, as the OpenAI API has them.
//!
//! Not here: what is listed.

use axum::extract::Query;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::parameters::{invalid, unsupported};

/// What the query of a request says, in pairs.
pub(crate) type Pairs = Query<Vec<(String, String)>>;

/// The page that is asked for.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) ascending: bool,
    pub(crate) after: Option<String>,
}

impl Page {
    /// Reads a query. `other` takes what is not about pages, and says whether it did.
    pub(crate) fn read(
        pairs: &[(String, String)],
        (limit, limit_max): (usize, usize),
        mut other: impl FnMut(&str, &str) -> bool,
    ) -> Result<Page, ApiError> {
        let mut page = Page { limit, ascending: false, after: None };
        for (name, value) in pairs {
            match (name.as_str(), value.as_str()) {
                ("limit", number) => {
                    let number = number.parse().ok().filter(|it| (1..=limit_max).contains(it));
                    let problem = || invalid("limit", format!("is outside 1 to {limit_max}"));
                    page.limit = number.ok_or_else(problem)?;
                }
                ("order", "asc") => page.ascending = true,
                ("order", "desc") => page.ascending = false,
                ("after", id) => page.after = Some(id.to_owned()),
                (name, value) if other(name, value) => {}
                _ => return Err(unsupported(name, &json!(value))),
            }
        }
        Ok(page)
    }

    /// The page of these items, which come oldest first and have ids. `whole` is what they are part of.
    pub(crate) fn of(&self, mut items: Vec<Value>, whole: &str) -> Result<Value, ApiError> {
        if !self.ascending {
            items.reverse();
        }
        if let Some(after) = &self.after {
            let at = items.iter().position(|item| item["id"] == after.as_str());
            let at = at.ok_or_else(|| invalid("after", format!("names nothing of {whole}")))?;
            items.drain(..=at);
        }
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        let end = |item: Option<&Value>| item.map_or(json!(""), |item| item["id"].clone());
        Ok(json!({
            "object": "list", "first_id": end(items.first()), "last_id": end(items.last()),
            "has_more": has_more, "data": items,
        }))
    }
}
