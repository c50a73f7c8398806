// What both drivers of the page do. They are started by ../examples_test.go and ../calls_test.go with the addresses of the page
// and of the server, and the path of the browser.

import readline from 'node:readline'

export const [page, server, executablePath] = process.argv.slice(2)

// ask has the test do something, and returns the line that it says when that is done.
const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
export async function ask(what) {
  console.log(what)
  return (await stdin.next()).value
}

// A tab; whatever the page complains of ends the test, but for connections that the crash cuts.
export async function tab(context) {
  const t = await context.newPage()
  t.setDefaultTimeout(60_000)
  t.on('pageerror', (err) => { throw err })
  t.on('console', (m) => {
    if (m.type() === 'error' && !/WebSocket connection to/.test(m.text())) throw new Error(m.text())
  })
  return t
}

export async function logIn(t, user) {
  await t.goto(page)
  await t.getByLabel('Server').fill(server)
  await t.getByLabel('User').fill(user)
  await t.getByRole('button', { name: 'Connect' }).click()
  await t.getByRole('status').filter({ hasText: `Connected as ${user}.` }).waitFor()
}

export async function open(t, name) {
  await t.getByLabel('Open a conversation').fill(name)
  await t.getByRole('button', { name: 'Open' }).click()
  await t.getByRole('heading', { name }).waitFor()
}
