//go:build linux || darwin || freebsd

package natsd

import "syscall"

// freeSpace is the number of bytes that the file system of dir still takes; false where that is not known.
func freeSpace(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
