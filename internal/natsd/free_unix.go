//go:build linux || darwin || freebsd

package natsd

import "syscall"

// freeSpace returns the number of free bytes in the file system of dir; false if it is not known.
func freeSpace(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
