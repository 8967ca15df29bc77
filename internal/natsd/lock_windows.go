package natsd

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile takes path for this process alone until the file is closed or the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	const one = 1 // a lock of the first byte serves
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, one, 0, new(windows.Overlapped))
	if err != nil {
		f.Close()
		return nil, errLocked
	}
	return f, nil
}
