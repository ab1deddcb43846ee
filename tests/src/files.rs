//! The content of a commit.

use std::path::Path;

/// One entry.
#[derive(Debug, Clone)]
enum Entry {
    File(Vec<u8>),
    Link(String),
    /// A submodule: the id of a commit elsewhere.
    Submodule(String),
}

/// Paths with what stands there.
#[derive(Debug, Clone, Default)]
pub struct Files(Vec<(String, Entry)>);

impl Files {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A README whose front matter is `front`.
    #[must_use]
    pub fn readme(front: &str) -> Self {
        Self::new().file("README.md", format!("---\n{}\n---\n# A test\n", front.trim()))
    }

    /// A Docker Space that runs `app.py` with the Python of `base`, without installing anything.
    #[must_use]
    pub fn docker_python(base: &str, app: &str) -> Self {
        Self::readme("sdk: docker")
            .file("Dockerfile", dockerfile(base, "CMD [\"python3\", \"-u\", \"app.py\"]"))
            .file("app.py", app)
    }

    /// Adds a file, or replaces it.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.retain(|(other, _)| other != path);
        self.0.push((path.to_owned(), Entry::File(content.into())));
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.0.push((path.to_owned(), Entry::Link(target.to_owned())));
        self
    }

    /// Adds a submodule at some commit.
    #[must_use]
    pub fn submodule(mut self, path: &str, commit: &str) -> Self {
        self.0.push((path.to_owned(), Entry::Submodule(commit.to_owned())));
        self
    }

    /// Everything below a folder of this workspace.
    ///
    /// # Panics
    /// When the folder cannot be read.
    #[must_use]
    pub fn example(name: &str) -> Self {
        fn walk(root: &Path, folder: &Path, into: &mut Files) {
            for entry in std::fs::read_dir(folder).expect("the example is there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(root, &path, into);
                } else {
                    let name = path.strip_prefix(root).expect("below the root").display().to_string();
                    into.0.push((name, Entry::File(std::fs::read(&path).expect("a file"))));
                }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let mut files = Self::new();
        walk(&root, &root, &mut files);
        files
    }

    /// A line of the README's front matter, by its key.
    #[must_use]
    pub fn readme_line(&self, key: &str) -> Option<String> {
        let readme = self.0.iter().find_map(|(path, entry)| match entry {
            Entry::File(content) if path == "README.md" => Some(String::from_utf8_lossy(content)),
            _ => None,
        })?;
        readme.lines().find(|line| line.starts_with(key)).map(str::to_owned)
    }

    /// Writes files and links; returns the submodules, which only git can write.
    pub(crate) fn write(&self, folder: &Path) -> Vec<(String, String)> {
        let mut submodules = Vec::new();
        for (path, entry) in &self.0 {
            let to = folder.join(path);
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
            match entry {
                Entry::File(content) => std::fs::write(&to, content).expect("a file is written"),
                Entry::Link(target) => std::os::unix::fs::symlink(target, &to).expect("a link is made"),
                Entry::Submodule(commit) => submodules.push((path.clone(), commit.clone())),
            }
        }
        submodules
    }
}

/// A Dockerfile as Spaces have it: uid 1000, the code in `/app`, then `rest`.
#[must_use]
pub fn dockerfile(base: &str, rest: &str) -> String {
    format!(
        "FROM {base}\nRUN getent passwd 1000 || useradd --create-home --uid 1000 user\nWORKDIR /app\nCOPY . .\nUSER 1000\n{rest}\n"
    )
}
