// Package search finds posts by what they say, and public groups by what they are about.
//
// Start with [Open], [Index.Start] and [Index.Find]; [Parse] reads what people type, and package words says what a word is. [Index.Note] is told which
// logs got something, by a goroutine that must not wait; [Index.Close] ends it all.
//
// The index is a view derived from the logs. One goroutine reads what is new behind the durable head and
// writes it into one SQLite file (FTS5), together with how far it has read, in one transaction: after a crash
// it reads a little twice, and that is all. A file that is missing, damaged, of another version or of another
// store is replaced by an empty one and filled again in the background. So the file is in no backup.
//
// It is a hint, never the truth. It holds tokens without the texts, may be behind by a moment, and may
// still name what has disappeared: whoever asks reads each hit in the log, and matches the text once more
// ([words.Query.Match]), before anybody sees it.
//
// Rows are numbered by time, so that "newest first", "before", "after" and the next page are ranges of
// row numbers. Each text is indexed with two tokens more: its conversation and its sender.
package search
