//! What the realm does, live, in the terminal.

mod draw;
mod feed;
#[cfg(test)]
mod fixtures;
mod model;
mod once;
mod screen;
mod table;
mod views;
mod words;

use std::io::{self, IsTerminal};
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures::StreamExt;
use tokio::sync::mpsc;

use self::feed::News;
use self::model::{Go, Link, Model};
use self::screen::Screen;
use super::admin::Live;
use super::signals::Signals;
use crate::cli::{Common, Top};
use crate::exit::{Code, failure};
use crate::output::Output;

/// Frames that wait for the screen; more stay at the node, which skips them.
const WAITING: usize = 2;

/// How often it is drawn at least.
const REDRAW: Duration = Duration::from_secs(1);

pub(crate) async fn run(top: Top, common: Common, output: Output) -> anyhow::Result<Code> {
    if top.once {
        return once::run(&top.admin, common.timeout, output).await;
    }
    if output.is_json() {
        return Err(failure(Code::Usage, "--json prints one frame and goes with --once"));
    }
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(failure(Code::Usage, "there is no terminal to draw on: --once prints one look and ends"));
    }
    // Before the screen is taken, so that what is wrong is said where it stays.
    let live = Live::connect(&top.admin, common.timeout).await?;
    let mut signals = Signals::listen()?;
    let (news, heard) = mpsc::channel(WAITING);
    let model = Model::new(top.admin.admin.clone());
    let following = tokio::spawn(feed::follow(top.admin, common.timeout, live, news));
    let screen = Screen::open()?;
    let ended = tokio::select! {
        ended = show(screen, model, heard) => ended,
        () = signals.next() => Ok(()),
    };
    following.abort();
    ended.map(|()| Code::Ok).map_err(Into::into)
}

/// Shows what is heard and does what keys say, until one says that it is enough.
async fn show(mut screen: Screen, mut model: Model, mut heard: mpsc::Receiver<News>) -> io::Result<()> {
    let mut keys = EventStream::new();
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            news = heard.recv() => match news {
                Some(News::Frame(frame)) => model.take(*frame),
                Some(News::Lost(reason)) => model.link = Link::Lost(reason),
                None => return Ok(()),
            },
            event = keys.next() => match event.transpose()? {
                Some(Event::Key(key)) if model.key(key) == Go::Quit => return Ok(()),
                Some(_) => {}
                None => return Ok(()),
            },
            _ = redraw.tick() => {}
        }
        screen.show(&mut model)?;
    }
}
