//! What a commit is: its front matter, and whether the file that starts it is there.

use spaceport_core::config::ConfigError;
use spaceport_core::space::Inspection;
use spaceport_core::{CommitSha, SpaceId, front_matter};
use spaceport_git::{GitError, Repositories};

/// A README may hold so many bytes; its front matter is at the top.
const MAX_README: u64 = 4 << 20;

/// Reads a commit.
///
/// # Errors
/// When the repository cannot be read.
pub(crate) async fn inspect(
    repositories: &Repositories,
    space: SpaceId,
    sha: &CommitSha,
) -> Result<Inspection, GitError> {
    let readme = match repositories.read_file(space.into(), sha, "README.md", MAX_README).await {
        Err(GitError::FileTooLarge { bytes, limit, .. }) => {
            let message = format!("the file has {bytes} bytes; at most {limit} are read");
            let error = ConfigError { key: String::new(), line: 1, column: 1, message, allowed: String::new() };
            return Ok(Inspection::ConfigError(vec![error]));
        }
        other => other?,
    };
    let Some(readme) = readme else {
        if repositories.resolve(space.into(), sha.as_str()).await?.is_none() {
            // That is a damaged repository, or a disk that is away, and no mistake of who pushed.
            let message = format!("the commit {sha} is not in it");
            return Err(GitError::Failed { operation: "read a repository", message });
        }
        return Ok(Inspection::ConfigError(vec![front_matter::no_readme()]));
    };
    let config = match front_matter::parse(&readme) {
        Ok(config) => config,
        Err(errors) => return Ok(Inspection::ConfigError(errors)),
    };
    let file = config.start_file().to_owned();
    let there = match repositories.read_file(space.into(), sha, &file, MAX_README).await {
        Ok(content) => content.is_some(),
        Err(GitError::FileTooLarge { .. }) => true,
        Err(error) => return Err(error),
    };
    if there { Ok(Inspection::Buildable(Box::new(config))) } else { Ok(Inspection::NoAppFile { file }) }
}
