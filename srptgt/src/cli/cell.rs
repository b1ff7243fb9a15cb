//! From the API's JSON to the text of a table's cell. Pure but for the clock in [`age`].

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::config::ByteSize;

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// A member as text: lists are joined, `null` and missing members and empty lists are `-`.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    plain(value.pointer(pointer).unwrap_or(&Value::Null))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

/// A number; 0 when it is none.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// A number of bytes, rounded.
pub(crate) fn bytes(value: &Value, pointer: &str) -> String {
    ByteSize(number(value, pointer)).rounded()
}

/// A list; empty when it is none.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// How long ago a time in milliseconds since 1970 was.
pub(crate) fn age(value: &Value, pointer: &str) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(number(value, pointer));
    let since = SystemTime::now().duration_since(then).unwrap_or_default();
    duration(since.as_secs())
}

fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells() {
        let row = json!({ "a": "x", "b": [1, "y"], "c": [], "d": null, "e": true, "f": 1536 });
        let cells: Vec<_> = ["/a", "/b", "/c", "/d", "/e", "/f", "/g"]
            .map(|at| text(&row, at))
            .into();
        assert_eq!(cells, ["x", "1\ny", "-", "-", "yes", "1536", "-"]);
        assert_eq!(bytes(&row, "/f"), "1.5 KiB");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3599), "59 min");
        assert_eq!(duration(3661), "1 h 1 min");
        assert_eq!(duration(90000), "1 d 1 h");
    }
}
