//! What the files mean: defaults filled in, values parsed, contradictions refused.

mod addresses;
mod folder;
mod login;
mod oauth;
mod smarthost;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::error::{ConfigError, Source};
use super::load::DEFAULT_SPOOL;
use super::raw::{At, Raw};
use super::value::{parse_duration, parse_size};
use super::{Config, Delivery, Limits, Pickup};
use crate::pickup::Pattern;

pub use smarthost::is_here;

/// All that was read; a later layer stands above an earlier one.
pub(super) struct Layers {
    pub(super) layers: Vec<(Source, Raw)>,
    pub(super) spool: Option<PathBuf>,
    /// Where it was said, and the url.
    pub(super) smarthost: Option<(&'static str, String)>,
}

impl Layers {
    /// The value of the highest layer that has one, parsed.
    fn value<T, V>(
        &self,
        key: impl Fn(&Raw) -> &At<T>,
        parse: impl Fn(&T) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        let found = self.layers.iter().rev().find_map(|(source, raw)| Some((source, key(raw).as_ref()?)));
        found.map(|(source, value)| at(source, value, &parse)).transpose()
    }

    /// The same for a value that is a string.
    fn text<V>(
        &self,
        key: impl Fn(&Raw) -> &At<String>,
        parse: impl Fn(&str) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        self.value(key, |text| parse(text))
    }
}

/// Parses a value; an error points at it.
fn at<T, V>(
    source: &Source,
    value: &Spanned<T>,
    parse: impl Fn(&T) -> Result<V, String>,
) -> Result<V, ConfigError> {
    parse(value.get_ref()).map_err(|message| source.error(value.span(), message))
}

fn text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a value, found an empty string".into()),
        _ => Ok(text.to_owned()),
    }
}

fn parsed<V: FromStr<Err: Display>>(text: &str) -> Result<V, String> {
    text.parse().map_err(|e: V::Err| e.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("expected a span of time above zero, found {text:?}")),
        span => Ok(span),
    }
}

pub(super) fn check(layers: Layers) -> Result<Config, ConfigError> {
    let default_dir = || PathBuf::from(DEFAULT_SPOOL);
    let spool_dir = match &layers.spool {
        Some(dir) => dir.clone(),
        None => layers.text(|r| &r.spool.dir, |t| text(t).map(PathBuf::from))?.unwrap_or_else(default_dir),
    };
    let identity = addresses::check_identity(&layers)?;
    Ok(Config {
        folders: folder::check_all(&layers, &spool_dir, &identity)?,
        spool_dir,
        limits: check_limits(&layers)?,
        pickup: check_pickup(&layers)?,
        users: addresses::check_users(&layers, &identity)?,
        aliases: Arc::new(addresses::check_aliases(&layers, &identity)?),
        identity,
        smarthosts: smarthost::check_all(&layers)?,
        delivery: check_delivery(&layers)?,
        level: layers.text(|r| &r.log.level, level)?.unwrap_or(tracing::Level::INFO),
    })
}

/// A disk with less than this free is as good as full: octets.
const MIN_FREE: u64 = 16_000_000;

fn check_limits(layers: &Layers) -> Result<Limits, ConfigError> {
    let above_zero = |number: &u64| match number {
        0 => Err("expected a number above zero, found 0".to_owned()),
        number => Ok(*number),
    };
    let size_above_zero = |text: &str| match parse_size(text)? {
        0 => Err(format!("expected a size above zero, found {text:?}")),
        size => Ok(size),
    };
    Ok(Limits {
        max_messages: layers.value(|r| &r.spool.max_messages, above_zero)?,
        max_message_size: layers.text(|r| &r.spool.max_message_size, size_above_zero)?,
        min_free: layers.text(|r| &r.spool.min_free, parse_size)?.unwrap_or(MIN_FREE),
        keep_sent: layers.value(|r| &r.spool.keep_sent, |n| Ok(*n))?.unwrap_or(0),
        keep_failed: layers.value(|r| &r.spool.keep_failed, |n| Ok(*n))?,
    })
}

fn level(text: &str) -> Result<tracing::Level, String> {
    text.parse().map_err(|_| format!("expected error, warn, info, debug or trace, found {text:?}"))
}

fn check_pickup(layers: &Layers) -> Result<Pickup, ConfigError> {
    Ok(Pickup {
        patterns: layers
            .value(|r| &r.pickup.patterns, |texts| patterns(texts))?
            .unwrap_or_else(Pattern::defaults),
        settle: layers.text(|r| &r.pickup.settle, positive)?.unwrap_or(Duration::from_millis(500)),
        rescan: layers.text(|r| &r.pickup.rescan, positive)?.unwrap_or(Duration::from_secs(60)),
        unstuff: layers.value(|r| &r.pickup.unstuff, |v| Ok(*v))?.unwrap_or(false),
    })
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, String> {
    match texts.is_empty() {
        true => Err("expected at least one pattern, found none".to_owned()),
        false => Ok(texts.iter().map(|t| Pattern::new(t)).collect()),
    }
}

const DEFAULT_FAIL_BACK: Duration = Duration::from_secs(300);
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(14 * 86_400);

fn check_delivery(layers: &Layers) -> Result<Delivery, ConfigError> {
    let hold_line = |text: &str| match text {
        "forever" => Ok(None),
        _ => parse_duration(text).map(Some).map_err(|e| format!("{e}; or \"forever\"")),
    };
    let max_age = |text: &str| match text {
        "forever" => Ok(None),
        _ => positive(text).map(Some).map_err(|e| format!("{e}; or \"forever\"")),
    };
    let max_attempts = layers.value(|r| &r.delivery.max_attempts, |most| Ok(*most))?;
    Ok(Delivery {
        max_age: layers.text(|r| &r.delivery.max_age, max_age)?.unwrap_or(Some(DEFAULT_MAX_AGE)),
        max_attempts: max_attempts.filter(|most| *most > 0),
        fail_back: layers.text(|r| &r.delivery.fail_back, duration)?.unwrap_or(DEFAULT_FAIL_BACK),
        retry_interval: layers
            .text(|r| &r.delivery.retry_interval, positive)?
            .unwrap_or(Duration::from_secs(30)),
        hold_line: layers
            .text(|r| &r.delivery.hold_line, hold_line)?
            .unwrap_or(Some(Duration::from_secs(300))),
        keep_open: layers.text(|r| &r.delivery.keep_open, duration)?.unwrap_or(Duration::from_secs(5)),
        received: layers.value(|r| &r.delivery.received, |v| Ok(*v))?.unwrap_or(true),
    })
}
