//! What the topic crate costs: checking a name, matching it against many patterns, changing the patterns.
//!
//! *Cold* walks over many topics, so that hardly a node of the trie is in a cache when it is needed. *Warm* asks for
//! the same topic again and again. Values are counted, not collected.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sinew_topic::{Pattern, PatternTrie, validate_topic};

const SIZES: [(&str, usize); 4] = [("1K", 1_000), ("10K", 10_000), ("100K", 100_000), ("1M", 1_000_000)];
const COLD_TOPICS: usize = 1 << 17;

const FLEETS: [&str; 4] = ["fleet", "plant", "lab", "depot"];
const REGIONS: [&str; 16] = [
    "oslo", "bergen", "turku", "tampere", "riga", "tallinn", "vilnius", "gdansk", "poznan", "brno", "graz", "linz",
    "basel", "lyon", "porto", "bilbao",
];
const METRICS: [&str; 8] = ["temperature", "humidity", "pressure", "load", "position", "battery", "state", "alarm"];

/// How patterns are made of topics.
#[derive(Clone, Copy)]
enum Shape {
    /// As they are.
    Literal,
    /// One in five has a wildcard: `*` for the device or the metric, or `>` after the site.
    Mixed,
    /// Every one has: site or device is named, any other token is `*` more often than not, a quarter ends with `>`.
    Wild,
}

const SHAPES: [(&str, Shape); 3] =
    [("literal", Shape::Literal), ("mixed", Shape::Mixed), ("wildcard-heavy", Shape::Wild)];

/// A topic of five tokens in a world that grows with the number of patterns, as the world does: sites and devices get
/// more, and each keeps about as many patterns.
fn tokens(patterns: usize, rng: &mut StdRng) -> [String; 5] {
    let site = rng.random_range(0..patterns / 20);
    [
        (*FLEETS.choose(rng).expect("some")).to_owned(),
        REGIONS[site % REGIONS.len()].to_owned(),
        format!("site-{site}"),
        format!("device-{}", site * 8 + rng.random_range(0..8)),
        (*METRICS.choose(rng).expect("some")).to_owned(),
    ]
}

/// A topic that one of the patterns matches, so that the way to it is walked to the end.
fn topic(patterns: &[Pattern], rng: &mut StdRng) -> String {
    let mut topic = tokens(patterns.len(), rng);
    let wanted = patterns.choose(rng).expect("some").tokens();
    for (token, wanted) in topic.iter_mut().zip(wanted).filter(|(_, wanted)| !matches!(*wanted, "*" | ">")) {
        wanted.clone_into(token);
    }
    topic.join(".")
}

fn pattern(shape: Shape, patterns: usize, rng: &mut StdRng) -> Pattern {
    let mut tokens = tokens(patterns, rng).to_vec();
    match shape {
        Shape::Literal => {}
        Shape::Mixed => match rng.random_range(0..20) {
            0 | 1 => tokens[4] = "*".to_owned(),
            2 => tokens[3] = "*".to_owned(),
            3 => {
                tokens.truncate(3);
                tokens.push(">".to_owned());
            }
            _ => {}
        },
        Shape::Wild => {
            let named = rng.random_range(2..=3);
            for (at, token) in tokens.iter_mut().enumerate() {
                if at != named && rng.random_bool(0.6) {
                    *token = "*".to_owned();
                }
            }
            if rng.random_bool(0.25) {
                tokens.truncate(named + 1);
                tokens.push(">".to_owned());
            }
        }
    }
    Pattern::parse(&tokens.join(".")).expect("valid")
}

fn trie_of(patterns: &[Pattern]) -> PatternTrie<u32> {
    let mut trie = PatternTrie::new();
    for (value, pattern) in patterns.iter().enumerate() {
        trie.insert(pattern, value as u32);
    }
    trie
}

fn count_matches(trie: &PatternTrie<u32>, topic: &str) -> usize {
    let mut count = 0;
    trie.for_each_match(black_box(topic), |value| count += usize::from(black_box(value) != u32::MAX));
    count
}

fn matching(c: &mut Criterion) {
    for (shape_name, shape) in SHAPES {
        let mut group = c.benchmark_group(format!("topic/match/{shape_name}"));
        for (size_name, size) in SIZES {
            let mut rng = StdRng::seed_from_u64(size as u64);
            let patterns: Vec<_> = (0..size).map(|_| pattern(shape, size, &mut rng)).collect();
            let trie = trie_of(&patterns);
            let topics: Vec<_> = (0..COLD_TOPICS).map(|_| topic(&patterns, &mut rng)).collect();
            let found: usize = topics.iter().map(|topic| count_matches(&trie, topic)).sum();
            eprintln!(
                "{shape_name} {size_name}: {} nodes, {:.2} matches a topic",
                trie.node_count(),
                found as f64 / topics.len() as f64
            );

            group.bench_function(BenchmarkId::new("cold", size_name), |b| {
                let mut next = topics.iter().cycle();
                b.iter(|| count_matches(&trie, next.next().expect("endless")));
            });
            group.bench_function(BenchmarkId::new("warm", size_name), |b| b.iter(|| count_matches(&trie, &topics[0])));
        }
        group.finish();
    }
}

/// All of `{a,*}^12` with `b` behind: 4,096 patterns made to be walked in vain.
fn adversarial(c: &mut Criterion) {
    const DEPTH: usize = 12;
    let patterns: Vec<_> = (0..1 << DEPTH)
        .map(|bits| {
            let prefix: String = (0..DEPTH).map(|at| if bits >> at & 1 == 0 { "a." } else { "*." }).collect();
            Pattern::parse(&(prefix + "b")).expect("valid")
        })
        .collect();
    let trie = trie_of(&patterns);
    let mut group = c.benchmark_group("topic/match/adversarial");
    for (name, tokens, end) in [
        ("all 4096 match", DEPTH, "b"),
        ("none, for the last token", DEPTH, "c"),
        ("none, too short", DEPTH - 1, "b"),
        ("none, too long", DEPTH + 8, "b"),
    ] {
        let topic = "a.".repeat(tokens) + end;
        group.bench_function(name, |b| b.iter(|| count_matches(&trie, &topic)));
    }
    group.finish();
}

fn changing(c: &mut Criterion) {
    let mut group = c.benchmark_group("topic/change");
    group.throughput(Throughput::Elements(1));
    for (size_name, size) in SIZES {
        let mut rng = StdRng::seed_from_u64(1);
        let patterns: Vec<_> = (0..size).map(|_| pattern(Shape::Mixed, size, &mut rng)).collect();
        let mut trie = trie_of(&patterns);
        let more: Vec<_> = (0..COLD_TOPICS).map(|_| pattern(Shape::Mixed, size, &mut rng)).collect();
        group.bench_function(BenchmarkId::new("insert and remove", size_name), |b| {
            let mut next = more.iter().cycle();
            b.iter(|| {
                let pattern = next.next().expect("endless");
                trie.insert(pattern, u32::MAX);
                trie.remove(pattern, &u32::MAX)
            });
        });
    }
    group.finish();
}

fn checking(c: &mut Criterion) {
    let mut group = c.benchmark_group("topic/validate");
    for (name, topic) in [
        ("ascii, 27 bytes", "sensors.kitchen.temperature".to_owned()),
        ("ascii, 512 bytes", vec!["a".repeat(15); 32].join(".") + "a"),
        ("umlauts, 29 bytes", "sensors.küche.temperatur.außen".to_owned()),
    ] {
        group.bench_function(name, |b| b.iter(|| validate_topic(black_box(&topic)).expect("valid")));
    }
    group.finish();
    let pattern = Pattern::parse("sensors.*.temperature").expect("valid");
    c.bench_function("topic/pattern/matches", |b| {
        b.iter(|| black_box(&pattern).matches(black_box("sensors.kitchen.temperature")));
    });
}

fn brief() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = brief();
    targets = checking, matching, adversarial, changing
}
criterion_main!(benches);
