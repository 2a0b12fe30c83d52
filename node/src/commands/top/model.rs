//! What the screen shows, and what keys do to it. Knows nothing of terminals and of connections.

use std::collections::{HashSet, VecDeque};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use sinew_live::frame::{Frame, Sample};

use super::table::Table;
use super::views::{Span, View};

/// Frames of which the throughput is kept: two minutes.
const HISTORY: usize = 240;

/// Events that are kept: a frame has a sample of at most 50.
const EVENTS: usize = 500;

/// Longest filter.
const FILTER: usize = 64;

/// How the connection to the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Frames come.
    Live,
    /// The node is asked again and again; why it is not heard.
    Lost(String),
}

/// What the frames have told.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) frame: Frame,
    /// Messages per second of the realm, the newest last.
    pub(super) throughput: VecDeque<f64>,
    /// Newest first.
    pub(super) events: VecDeque<Sample>,
}

impl Seen {
    fn take(&mut self, frame: Frame) {
        if self.throughput.len() >= HISTORY {
            self.throughput.pop_front();
        }
        self.throughput.push_back(frame.windows.one.message_rate);
        // A frame may have events again that one before it had.
        let known: HashSet<_> = self.events.iter().map(|event| event.id.as_str()).collect();
        let new = frame.sample.iter().filter(|event| !known.contains(event.id.as_str())).cloned();
        let mut new: Vec<_> = new.collect();
        // By node in the frame; among those of one frame the clocks of nodes decide.
        new.sort_by_key(|event| event.time_ms);
        new.into_iter().for_each(|event| self.events.push_front(event));
        self.events.truncate(EVENTS);
        self.frame = frame;
    }
}

/// By what a view is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sort {
    /// A column of its first table; the order of the frame without one.
    pub(super) column: Option<usize>,
    pub(super) reverse: bool,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Quit,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Model {
    /// The admin server that is asked.
    pub(super) admin: String,
    pub(super) link: Link,
    now: Seen,
    /// What is shown while it is paused.
    held: Option<Seen>,
    /// Frames since then.
    pub(super) behind: u64,
    pub(super) view: View,
    sorts: [Sort; View::ALL.len()],
    pub(super) span: Span,
    pub(super) filter: String,
    /// Keys go into the filter.
    pub(super) editing: bool,
    pub(super) help: bool,
    /// Rows above the first one shown.
    pub(super) scroll: usize,
}

impl Model {
    pub(super) fn new(admin: impl Into<String>) -> Self {
        Self {
            admin: admin.into(),
            link: Link::Live,
            now: Seen::default(),
            held: None,
            behind: 0,
            view: View::Overview,
            sorts: Default::default(),
            span: Span::Ten,
            filter: String::new(),
            editing: false,
            help: false,
            scroll: 0,
        }
    }

    /// Takes a frame; while it is paused, for later.
    pub(super) fn take(&mut self, frame: Frame) {
        self.link = Link::Live;
        self.behind += u64::from(self.held.is_some());
        self.now.take(frame);
    }

    /// What is to be shown.
    pub(super) fn seen(&self) -> &Seen {
        self.held.as_ref().unwrap_or(&self.now)
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts.get(self.place()).copied().unwrap_or_default()
    }

    /// The column that the view is sorted by.
    pub(super) fn sorted_by(&self) -> Option<&'static str> {
        self.sort().column.and_then(|at| self.view.columns().get(at)).map(|column| column.title)
    }

    /// The tables of the view: filtered and sorted.
    pub(super) fn tables(&self) -> Vec<Table> {
        let seen = self.seen();
        let events: Vec<_> = seen.events.iter().cloned().collect();
        let mut tables = self.view.tables(&seen.frame, &events, self.span);
        for table in &mut tables {
            table.keep(&self.filter);
            table.sort(self.sorted_by(), self.sort().reverse);
        }
        tables
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Go {
        if key.kind == KeyEventKind::Release {
            return Go::On;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Go::Quit,
            _ if control => {}
            _ if self.editing => self.edit(key.code),
            _ if self.help => self.help = false,
            KeyCode::Char('q') => return Go::Quit,
            code => self.command(code),
        }
        Go::On
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                self.editing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < FILTER && !c.is_control() => self.filter.push(c),
            _ => return,
        }
        self.scroll = 0;
    }

    fn command(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('r') => self.change_sort(|sort| sort.reverse = !sort.reverse),
            KeyCode::Char('w') => self.span = self.span.next(),
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(View::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='7') => self.turn_to(digit as usize - '1' as usize),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(10),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
    }

    fn pause(&mut self) {
        self.held = match self.held {
            Some(_) => None,
            None => Some(self.now.clone()),
        };
        self.behind = 0;
    }

    /// The next column, and after the last one the order of the frame.
    fn sort_by_next(&mut self) {
        let columns = self.view.columns().len();
        self.change_sort(|sort| {
            let next = sort.column.map_or(0, |at| at + 1);
            *sort = Sort { column: (next < columns).then_some(next), reverse: false };
        });
    }

    fn change_sort(&mut self, change: impl FnOnce(&mut Sort)) {
        let place = self.place();
        if let Some(sort) = self.sorts.get_mut(place) {
            change(sort);
        }
    }

    fn place(&self) -> usize {
        View::ALL.iter().position(|view| *view == self.view).unwrap_or(0)
    }

    fn turn(&mut self, by: usize) {
        self.turn_to((self.place() + by) % View::ALL.len());
    }

    fn turn_to(&mut self, place: usize) {
        if let Some(view) = View::ALL.get(place) {
            self.view = *view;
            self.scroll = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn press(model: &mut Model, keys: &str) {
        for key in keys.chars() {
            let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
            assert_eq!(model.key(code.into()), Go::On, "{key:?}");
        }
    }

    fn names(model: &Model) -> Vec<String> {
        model.tables()[0].rows.iter().map(|row| row.cells[0].text.clone()).collect()
    }

    fn model() -> Model {
        let mut model = Model::new("127.0.0.1:4600");
        model.take(fixtures::frame());
        model
    }

    #[test]
    fn keys_end_it_unless_they_are_typed_into_the_filter() {
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(model().key(KeyCode::Char('q').into()), Go::Quit);
        assert_eq!(model().key(control('c')), Go::Quit);
        let mut editing = model();
        press(&mut editing, "/q");
        assert_eq!(editing.filter, "q");
        assert_eq!(editing.key(control('c')), Go::Quit, "from everywhere");
        let mut help = model();
        press(&mut help, "?q");
        assert!(!help.help, "the first key closes the help");
        let mut released = KeyEvent::from(KeyCode::Char('q'));
        released.kind = KeyEventKind::Release;
        assert_eq!(model().key(released), Go::On);
    }

    #[test]
    fn views_are_turned_over() {
        let mut model = model();
        for (key, view) in ('1'..='7').zip(View::ALL) {
            press(&mut model, &key.to_string());
            assert_eq!(model.view, view);
        }
        model.key(KeyCode::Tab.into());
        assert_eq!(model.view, View::Overview, "round");
        model.key(KeyCode::BackTab.into());
        assert_eq!(model.view, View::Events);
        press(&mut model, "890x");
        assert_eq!(model.view, View::Events);
    }

    #[test]
    fn columns_are_gone_through_and_turned_around() {
        let mut model = model();
        press(&mut model, "2");
        assert_eq!(names(&model), ["node-one", "node-two", "e-three!"], "as the frame has them");
        press(&mut model, "s");
        assert_eq!(
            (model.sorted_by(), names(&model)),
            (Some("NODE"), ["e-three!", "node-one", "node-two"].map(str::to_owned).into())
        );
        press(&mut model, "r");
        assert_eq!(names(&model), ["node-two", "node-one", "e-three!"]);
        press(&mut model, "ssss");
        assert_eq!((model.sorted_by(), &*names(&model)[0]), (Some("CLIENTS"), "node-one"), "the most first");
        press(&mut model, "1");
        assert_eq!(model.sorted_by(), None, "each view has its own");
        press(&mut model, "2");
        assert_eq!(model.sorted_by(), Some("CLIENTS"));
        let left = View::Nodes.columns().len() - 4;
        press(&mut model, &"s".repeat(left));
        assert_eq!(model.sorted_by(), None);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut model = model();
        press(&mut model, "/TWO");
        assert!(model.editing);
        assert_eq!(names(&model), ["node-two"], "while it is typed");
        model.key(KeyCode::Backspace.into());
        press(&mut model, "o\n");
        assert!(!model.editing);
        assert_eq!(names(&model), ["node-two"]);
        press(&mut model, "w");
        assert_eq!((model.span, &*model.filter), (Span::Sixty, "TWo"));
        model.key(KeyCode::Esc.into());
        assert_eq!(names(&model).len(), 3);
        press(&mut model, "/");
        press(&mut model, &"x".repeat(200));
        assert_eq!(model.filter.len(), FILTER);
    }

    #[test]
    fn a_pause_shows_the_old_and_keeps_the_new() {
        let mut model = model();
        press(&mut model, " ");
        let mut later = fixtures::frame();
        later.nodes.truncate(1);
        later.windows.one.message_rate = 7.0;
        model.take(later.clone());
        model.take(later);
        assert!(model.is_paused());
        assert_eq!((names(&model).len(), model.behind, model.seen().throughput.len()), (3, 2, 1));
        press(&mut model, "p");
        assert!(!model.is_paused());
        assert_eq!((names(&model).len(), model.behind, model.seen().throughput.len()), (1, 0, 3));
    }

    #[test]
    fn the_feed_has_each_event_once_and_the_newest_first() {
        let mut model = model();
        model.take(fixtures::frame());
        let ids = |model: &Model| model.seen().events.iter().map(|event| event.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&model), ["12D3KooWnode-two/2", "12D3KooWnode-one/1"]);
        let mut next = fixtures::frame();
        for number in 0..2 * EVENTS {
            next.sample = vec![Sample { id: format!("x/{number}"), ..next.sample[0].clone() }];
            model.take(next.clone());
        }
        assert_eq!((ids(&model).len(), &*ids(&model)[0]), (EVENTS, "x/999"));
        assert_eq!(model.seen().throughput.len(), HISTORY);
    }
}
