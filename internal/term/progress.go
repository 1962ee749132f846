package term

import (
	"io"

	"github.com/schollz/progressbar/v3"
)

// Progress shows a bar of entries on standard error if that is a terminal and
// the total is large enough.
func (a *App) Progress(total int64, what string) *progressbar.ProgressBar {
	return a.ProgressOf(total, what, "entries")
}

// ProgressOf is Progress for other units, which are in the rate of the bar.
func (a *App) ProgressOf(total int64, what, unit string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !IsTerminal(f) || total < 10 {
		return progressbar.DefaultSilent(total)
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// ByteProgress is Progress for bytes.
func (a *App) ByteProgress(total int64, what string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !IsTerminal(f) || total < 64<<20 {
		return progressbar.DefaultBytesSilent(total)
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// ProgressBytes shows the number of bytes so far, for an unknown total.
func (a *App) ProgressBytes(what string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !IsTerminal(f) {
		return bytesBar(io.Discard, what, progressbar.OptionSetVisibility(false))
	}
	return bytesBar(f, what)
}

// ProgressCount shows the number of entries so far, for an unknown total.
func (a *App) ProgressCount(what string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !IsTerminal(f) {
		return bytesBar(io.Discard, what, progressbar.OptionSetVisibility(false))
	}
	return bytesBar(f, what, progressbar.OptionShowBytes(false), progressbar.OptionShowCount())
}

// bytesBar returns a bar without an end. It has no goroutine that turns its
// spinner: that of the library races with writes.
func bytesBar(w io.Writer, what string, more ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, append([]progressbar.Option{
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetSpinnerChangeInterval(0),
	}, more...)...)
}

// ProgressFunc returns a function that shows progress towards a total known
// only later, and one that removes the bar.
func (a *App) ProgressFunc(what string) (show func(done, total uint64), finish func()) {
	var bar *progressbar.ProgressBar
	show = func(done, total uint64) {
		if bar == nil {
			bar = a.Progress(int64(total), what)
		}
		_ = bar.Set64(int64(done)) // a bar that can't be drawn changes nothing
	}
	finish = func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
	return show, finish
}
