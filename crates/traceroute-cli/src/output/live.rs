//! What is shown while a request goes on.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use traceroute::{Request, Results, TraceEvent};

use super::layout::{lines, progress};
use super::picture::Picture;
use super::screen::Screen;
use super::table::Table;

/// At most ten times a second.
const AFTER_NEWS: Duration = Duration::from_millis(100);
/// So that the time left is right.
const WITHOUT_NEWS: Duration = Duration::from_secs(1);

/// What is known of a request, and where it is drawn, if anywhere.
#[derive(Debug)]
pub(crate) struct Live {
    picture: Picture,
    screen: Option<Screen>,
    /// Whether there is room for the table besides the progress.
    with_table: bool,
    started: Instant,
    drawn: Option<Instant>,
    news: bool,
}

impl Live {
    pub(crate) fn new(request: &Request, screen: Option<Screen>, with_table: bool) -> Self {
        let picture = Picture::new(request);
        Self { picture, screen, with_table, started: Instant::now(), drawn: None, news: true }
    }

    pub(crate) fn take(&mut self, event: &TraceEvent) {
        self.picture.take(event);
        self.news = true;
    }

    /// Waits until it is time to draw.
    pub(crate) fn due(&self) -> impl Future<Output = ()> + use<> {
        let pause = if self.news { AFTER_NEWS } else { WITHOUT_NEWS };
        let due = self.drawn.map(|drawn| drawn + pause);
        let draws = self.screen.is_some();
        async move {
            match due {
                _ if !draws => std::future::pending().await,
                Some(due) => sleep_until(due).await,
                None => {}
            }
        }
    }

    pub(crate) fn draw(&mut self) {
        let Some(screen) = &self.screen else { return };
        let (width, _) = screen.size();
        let mut drawn = if self.with_table { lines(&Table::of(&self.picture), width) } else { Vec::new() };
        drawn.push(progress(&self.picture, self.started.elapsed(), width));
        screen.draw(drawn);
        self.drawn = Some(Instant::now());
        self.news = false;
    }

    /// Leaves nothing of it on the terminal.
    pub(crate) fn erase(&self) {
        if let Some(screen) = &self.screen {
            screen.erase();
        }
    }

    /// The table in the end.
    pub(crate) fn table(&mut self, results: &Results) -> Table {
        self.picture.complete(results);
        Table::of(&self.picture)
    }
}
