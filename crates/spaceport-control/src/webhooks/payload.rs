//! What is sent. Hub: `WebhookPayload`, version 3; `build` and `runtime` are Spaceport's.

use serde_json::{Value, json};

use spaceport_core::discussion::Discussion;
use spaceport_core::space::Visibility;
use spaceport_core::webhook::{BuildThen, Change, CommentThen, DiscussionThen, HookEvent, RepoThen};
use spaceport_core::{Diagnosis, WebhookId};

/// The version of the form.
const VERSION: u8 = 3;

/// The body for one webhook; without what belongs to the code unless its owner may read it.
pub(super) fn of(event: &HookEvent, webhook: WebhookId, code: bool, hub: &str) -> Value {
    let repo = &event.repo;
    let (action, scope) = names(&event.change);
    let mut body = json!({
        "event": {"action": action, "scope": scope},
        "repo": repository(repo, code, hub),
        "webhook": {"id": webhook, "version": VERSION},
        "createdAt": event.at.to_rfc3339(),
    });
    match &event.change {
        Change::RepoCreated | Change::RepoDeleted => {}
        Change::RepoMoved { to, owner } => body["movedTo"] = json!({"name": to, "owner": {"id": owner}}),
        Change::RepoVisibility { to } => {
            body["updatedConfig"] = json!({"private": *to == Visibility::Private, "visibility": to});
        }
        Change::RefsMoved { refs } => {
            let moved = |moved: &spaceport_core::webhook::MovedRef| json!({"ref": moved.name, "oldSha": moved.old, "newSha": moved.new});
            body["updatedRefs"] = refs.iter().map(moved).collect();
        }
        Change::DiscussionChanged(then) => body["discussion"] = discussion(repo, then, hub),
        Change::DiscussionOpened(then, said) | Change::CommentMade(then, said) | Change::CommentChanged(then, said) => {
            body["discussion"] = discussion(repo, then, hub);
            body["comment"] = comment(repo, then, said, hub);
        }
        Change::Build(then) => body["build"] = build(then),
        Change::Notice { kind, message, due_at } => {
            let due_at = due_at.map(|at| at.to_rfc3339());
            body["notice"] = json!({"kind": kind.as_str(), "message": message, "dueAt": due_at});
        }
        Change::Stage { stage, diagnosis } => {
            body["runtime"] = json!({"stage": stage.as_str(), "diagnosis": diagnosis.as_ref().map(why)});
        }
    }
    body
}

const fn names(change: &Change) -> (&'static str, &'static str) {
    match change {
        Change::RepoCreated => ("create", "repo"),
        Change::RepoDeleted => ("delete", "repo"),
        Change::RepoMoved { .. } => ("move", "repo"),
        Change::RepoVisibility { .. } => ("update", "repo.config"),
        Change::RefsMoved { .. } => ("update", "repo.content"),
        Change::DiscussionOpened(..) => ("create", "discussion"),
        Change::DiscussionChanged(..) => ("update", "discussion"),
        Change::CommentMade(..) => ("create", "discussion.comment"),
        Change::CommentChanged(..) => ("update", "discussion.comment"),
        Change::Build(_) => ("update", "build"),
        Change::Stage { .. } => ("update", "runtime"),
        Change::Notice { .. } => ("create", "runtime.notice"),
    }
}

fn repository(repo: &RepoThen, code: bool, hub: &str) -> Value {
    let mut view = json!({
        "type": repo.kind,
        "name": repo.name,
        "id": repo.id,
        "private": repo.visibility == Visibility::Private,
        "visibility": repo.visibility,
        "url": {
            "web": format!("{hub}/{}", repo.kind.path(&repo.name)),
            "api": format!("{hub}/api/{}/{}", repo.kind.segment(), repo.name),
        },
        "owner": {"id": repo.owner},
    });
    if let Some(head) = repo.head.as_ref().filter(|_| code) {
        view["headSha"] = json!(head);
    }
    if let Some(subdomain) = &repo.subdomain {
        view["subdomain"] = json!(subdomain);
    }
    view
}

fn page(repo: &RepoThen, number: i64, hub: &str) -> String {
    format!("{hub}/{}/discussions/{number}", repo.kind.path(&repo.name))
}

fn discussion(repo: &RepoThen, then: &DiscussionThen, hub: &str) -> Value {
    let api = format!("{hub}/api/{}/{}/discussions/{}", repo.kind.segment(), repo.name, then.number);
    let mut view = json!({
        "id": then.id,
        "num": then.number,
        "title": then.title,
        "url": {"web": page(repo, then.number, hub), "api": api},
        "status": then.status,
        "author": {"id": then.author},
        "isPullRequest": then.base.is_some(),
    });
    if let Some(base) = &then.base {
        view["changes"] = json!({"base": base});
        view["ref"] = json!(Discussion::reference(then.number));
        if let Some(commit) = &then.merge_commit {
            view["changes"]["mergeCommitId"] = json!(commit);
        }
    }
    view
}

fn comment(repo: &RepoThen, then: &DiscussionThen, said: &CommentThen, hub: &str) -> Value {
    let mut view = json!({
        "id": said.id,
        "author": {"id": said.author},
        "hidden": said.text.is_none(),
        "url": {"web": format!("{}#{}", page(repo, then.number, hub), said.id)},
    });
    if let Some(text) = &said.text {
        view["content"] = json!(text);
    }
    view
}

fn build(then: &BuildThen) -> Value {
    json!({
        "id": then.id,
        "number": then.number,
        "sha": then.sha,
        "state": then.state,
        "queuedAt": then.queued_at.to_rfc3339(),
        "startedAt": then.started_at.map(|at| at.to_rfc3339()),
        "finishedAt": then.finished_at.map(|at| at.to_rfc3339()),
        "diagnosis": then.diagnosis.as_ref().map(why),
    })
}

/// Why, for everybody: what quotes a log may hold what the app printed, and stays out.
fn why(diagnosis: &Diagnosis) -> Value {
    let quotes = diagnosis.reason.may_quote_logs();
    let message = if quotes { "It failed; the owner can see why." } else { diagnosis.message.as_str() };
    json!({
        "reason": diagnosis.reason.code(),
        "phase": diagnosis.phase,
        "message": message,
        "remedy": diagnosis.remedy,
    })
}
