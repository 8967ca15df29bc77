// Package e2e tests yjet from outside: the built binary, the real packages that people's browsers run (driven
// from Node), a real browser for the page, and a program that reads the log without any code of ours.
//
// A Go test owns the seed, the order and the judgement; driver.mjs holds the clients and does what it is told;
// rebuild.mjs reads a document out of JetStream; browser.mjs drives Chromium. The Node packages are pinned by
// package-lock.json and installed by the first test that needs them. Where Node or Chromium is missing the
// tests skip with one line, and fail under CI=true. YJET_LONG=1 runs the long forms.
package e2e
