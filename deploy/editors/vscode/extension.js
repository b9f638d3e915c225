// Starts `fabric lsp` for the programs that are open. Everything else is the server's.
const { window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function activate() {
  const [command, ...args] = workspace.getConfiguration("plumb").get("server");
  const folder = workspace.workspaceFolders?.[0]?.uri.fsPath;
  const server = { command, args, options: { cwd: folder } };
  client = new LanguageClient("plumb", "Plumb", server, {
    documentSelector: [{ language: "plumb" }],
    synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.plumb") },
  });
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(`Plumb: '${command}' cannot be started (${error.message}). Install it with: pip install "plumb-fabric[lsp]"`);
  }
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
