//! What is under way while the policy changes: every tunnel, every connection that is looked into, every answer that still
//! streams. Each is judged again by a new book; what that no longer allows is cut, what it does goes on. Never judges by
//! itself, and never lets a call slip through between its decision and its entry here.
//!
//! ```text
//! decided ─▶ Standing ─▶ Live::enter ─▶ Entry, held by the call's record or its connection
//! new book ─▶ Live::cut_over ─▶ every Entry wakes ─▶ decide::again ─┬─ allowed ─▶ goes on
//!                                                                   └─ not ─────▶ Cut ─▶ closed, and written down
//! ```
//!
//! Whoever carries bytes waits for its [`Entry::cut`] beside them; that is all there is to do.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use postern_policy::Pending;
use tokio::sync::watch;

use crate::{
    body,
    book::Book,
    call::{Call, Freight},
    decide,
    identify::Caller,
    refuse::Refused,
    sealed::Claim,
    shown::Shown,
};

/// Everything that is under way, by way of those who listen for a new book.
pub(crate) struct Live(watch::Sender<Arc<Book>>);

impl Live {
    /// Nothing yet, under this book.
    pub(crate) fn new(book: Arc<Book>) -> Self {
        Self(watch::Sender::new(book))
    }

    /// Has everything that is under way judged again by this book.
    pub(crate) fn cut_over(&self, book: Arc<Book>) {
        self.0.send_replace(book);
    }

    /// A place among what is under way. A book that came in force since the decision is heard at once.
    pub(crate) fn enter(&self, standing: Standing) -> Entry {
        let mut news = self.0.subscribe();
        if news.borrow().generation != standing.generation {
            news.mark_changed();
        }
        Entry {
            standing,
            news,
            waiting: None,
        }
    }
}

/// A call as it was judged, to be judged again.
pub(crate) struct Standing {
    /// The policy that let it pass.
    pub(crate) generation: u64,
    /// Whose it is.
    pub(crate) caller: Arc<Caller>,
    /// What it is, without what travels; without its header fields where no rule looked at any.
    pub(crate) call: Call,
    /// What was seen of its body.
    pub(crate) shown: Shown,
    /// Whether its header fields are here.
    pub(crate) has_fields: bool,
    /// Whether it is a connection that the gate looks into.
    pub(crate) is_inside: bool,
    /// The rule because of which a human is asked, if one is.
    pub(crate) asks: Option<String>,
    /// Whether what was asked for has begun to come: nothing is sent with its credential any more.
    pub(crate) flows: bool,
}

impl Standing {
    /// What to keep of a call that is judged now.
    pub(crate) fn of(book: &Book, caller: &Arc<Caller>, call: &Call, shown: Shown) -> Self {
        let has_fields = book.rulebook.looks_inside(caller.holder());
        let headers = if has_fields {
            call.headers.clone()
        } else {
            http::HeaderMap::new()
        };
        Self {
            generation: book.generation,
            caller: Arc::clone(caller),
            call: Call {
                method: call.method.clone(),
                url: call.url.clone(),
                subject: call.subject.clone(),
                target: Arc::clone(&call.target),
                headers,
                freight: Freight::Request(body::empty()),
                claim: Claim::default(),
            },
            shown,
            has_fields,
            is_inside: false,
            asks: None,
            flows: false,
        }
    }

    /// The same, of a CONNECT that the gate looks into.
    pub(crate) fn inside(self) -> Self {
        Self {
            is_inside: true,
            ..self
        }
    }

    /// The same, of a call that a human is asked about.
    pub(crate) fn asking(self, pending: &Pending) -> Self {
        Self {
            asks: Some(pending.rule().to_owned()),
            ..self
        }
    }

    fn judge_again(&self, book: &Book) -> Option<Cut> {
        let refused = decide::again(book, self).err()?;
        Some(Cut {
            generation: book.generation,
            refused,
        })
    }
}

/// A new policy does not allow what an older one did.
#[derive(Debug, thiserror::Error)]
#[error("cut by a new policy, generation {generation}: {}", .refused.refusal().code.word())]
pub(crate) struct Cut {
    generation: u64,
    refused: Refused,
}

impl Cut {
    /// What an agent is told that has no answer yet.
    pub(crate) fn refused(&self) -> Refused {
        self.refused.clone()
    }
}

/// One thing that is under way; dropping it is its end.
pub(crate) struct Entry {
    standing: Standing,
    news: watch::Receiver<Arc<Book>>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Entry {
    /// What was judged.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What was asked for has begun to come.
    pub(crate) fn flows(&mut self) {
        self.standing.flows = true;
    }

    /// Returns once a new book does not allow it any more.
    pub(crate) async fn cut(&mut self) -> Cut {
        std::future::poll_fn(|context| self.poll_cut(context)).await
    }

    /// Whether a new book that is here already does not allow it. Costs next to nothing where there is none.
    pub(crate) fn cut_now(&mut self) -> Option<Cut> {
        if !self.news.has_changed().unwrap_or(false) {
            return None;
        }
        let book = Arc::clone(&self.news.borrow_and_update());
        self.standing.judge_again(&book)
    }

    /// As [`Entry::cut`], for whoever is polled.
    pub(crate) fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<Cut> {
        loop {
            if let Some(cut) = self.cut_now() {
                return Poll::Ready(cut);
            }
            if self.news.has_changed().is_err() {
                // The gate is going; nothing new will come.
                return Poll::Pending;
            }
            let news = &self.news;
            let waiting = self.waiting.get_or_insert_with(|| {
                let mut news = news.clone();
                Box::pin(async move { drop(news.changed().await) })
            });
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
    }
}
