/* Preloaded into a process (LD_PRELOAD): writes down what it does to files, or makes some of it fail.
 *
 * SHIM_ROOT    the directory below which calls count; without it nothing is done
 * SHIM_TRACE   the file that gets a record of each call, in one order for all processes: see records.py
 * SHIM_FAULTS  one or more of "OP NAME FIRST LAST ERROR", separated by ";": calls number FIRST to LAST of this kind on
 *              files of this name (* for any; # for one without a name) fail with this errno; 0: a write stops half
 *              way. OP: W (write, truncate, allocate), S (sync), N (create, rename, link, unlink, mkdir, rmdir)
 *
 * What a call does to a file is done and recorded under one lock, so that the order of the records is the order of the
 * changes. A sync is two records, begin and end, and so is a write through O_DSYNC: what was recorded before the begin
 * is on the disk when the end is recorded. The record comes before the call returns: whoever hears of its success, in
 * whatever process, and appends a record then, appends it behind.
 *
 * Not seen: stores through a map, system calls that do not go through libc's functions, and stdio inside libc. A test
 * compares what the records add up to with the files themselves.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define TRACE_DESCRIPTOR_MIN 700
#define FAULTS_MAX 8
#define EVERYTHING 64 /* iovecs of one call: libc and LMDB use no more */

enum { HALF = 0, NO_FAULT = -1 };

struct head {
    uint32_t kind;
    int32_t error;
    uint64_t file;
    int64_t offset;
    uint32_t thread;
    uint32_t name_bytes;
    uint64_t data_bytes;
};

struct target {
    uint64_t file;
    int synchronous;
    char path[PATH_MAX];
};

struct fault {
    char op, name[64];
    long first, last, seen;
    int error;
};

static char root[PATH_MAX];
static size_t root_bytes;
static int trace = -1;
static struct fault faults[FAULTS_MAX];
static int faults_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void read_faults(const char *text)
{
    for (; text && faults_count < FAULTS_MAX; text = strchr(text, ';') ? strchr(text, ';') + 1 : NULL) {
        struct fault *each = &faults[faults_count];
        if (sscanf(text, " %c %63s %ld %ld %d", &each->op, each->name, &each->first, &each->last, &each->error) == 5)
            faults_count++;
    }
}

__attribute__((constructor)) static void begin(void)
{
    const char *below = getenv("SHIM_ROOT"), *path = getenv("SHIM_TRACE");
    if (!below || !realpath(below, root))
        return;
    root_bytes = strlen(root);
    read_faults(getenv("SHIM_FAULTS"));
    if (path) {
        int opened = REAL(open)(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        trace = fcntl(opened, F_DUPFD_CLOEXEC, TRACE_DESCRIPTOR_MIN);
        REAL(close)(opened);
    }
}

static int is_below(const char *path)
{
    return root_bytes && !strncmp(path, root, root_bytes) && (path[root_bytes] == '/' || !path[root_bytes]);
}

/* Which file a descriptor is; whether it counts. */
static int find(int descriptor, struct target *found)
{
    struct stat about;
    char link[64];
    if (!root_bytes || fstat(descriptor, &about) || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, found->path, sizeof found->path - 1);
    if (size < 0)
        return 0;
    found->path[size] = 0;
    found->file = about.st_ino;
    found->synchronous = (fcntl(descriptor, F_GETFL) & O_DSYNC) != 0;
    return is_below(found->path);
}

/* The absolute path of what a call names; whether it counts. */
static int resolve(int directory, const char *path, char *found)
{
    char link[64], base[PATH_MAX];
    if (!root_bytes || !path)
        return 0;
    if (path[0] == '/')
        return snprintf(found, PATH_MAX, "%s", path) < PATH_MAX && is_below(found);
    if (directory == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0)
        return 0;
    base[size] = 0;
    return snprintf(found, PATH_MAX, "%s/%s", base, path) < PATH_MAX && is_below(found);
}

static void record(char kind, int error, uint64_t file, int64_t offset, const char *names, size_t name_bytes,
                   const struct iovec *data, int count, size_t data_bytes)
{
    struct head head = {kind, error, file, offset, (uint32_t)syscall(SYS_gettid), (uint32_t)name_bytes, data_bytes};
    struct iovec parts[EVERYTHING + 2] = {{&head, sizeof head}, {(void *)names, name_bytes}};
    int used = 2, before = errno;
    for (int at = 0; at < count && data_bytes; at++) {
        size_t size = data[at].iov_len < data_bytes ? data[at].iov_len : data_bytes;
        parts[used++] = (struct iovec){data[at].iov_base, size};
        data_bytes -= size;
    }
    if (trace >= 0 && REAL(writev)(trace, parts, used) < 0)
        abort();
    errno = before;
}

static void note(char kind, int error, const struct target *at, int64_t offset)
{
    record(kind, error, at->file, offset, at->path, strlen(at->path), NULL, 0, 0);
}

/* What is to befall this call: an errno, HALF or NO_FAULT. Call with the lock held. */
static int fault_of(char op, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int found = NO_FAULT;
    if (name[0] == '#')
        name = "#";
    for (int at = 0; at < faults_count; at++) {
        struct fault *each = &faults[at];
        if (each->op != op || (strcmp(each->name, "*") && strcmp(each->name, name)))
            continue;
        each->seen++;
        if (each->seen >= each->first && each->seen <= each->last)
            found = each->error;
    }
    if (found != NO_FAULT)
        record('F', found, 0, 0, path, strlen(path), NULL, 0, 0);
    return found;
}

static int failed(int error)
{
    errno = error;
    return -1;
}

/* Writes. */

typedef ssize_t (*Write)(int, const struct iovec *, int, off64_t);

static ssize_t positioned(int descriptor, const struct iovec *data, int count, off64_t offset)
{
    return REAL(pwritev64)(descriptor, data, count, offset);
}

static ssize_t streaming(int descriptor, const struct iovec *data, int count, off64_t offset)
{
    (void)offset;
    return REAL(writev)(descriptor, data, count);
}

static ssize_t halved(int descriptor, const struct iovec *data, int count, off64_t offset, Write write_it)
{
    size_t left = 0;
    struct iovec less[EVERYTHING];
    int used = 0;
    for (int at = 0; at < count; at++)
        left += data[at].iov_len;
    for (left = (left + 1) / 2; left && used < count; used++) {
        less[used] = data[used];
        if (less[used].iov_len > left)
            less[used].iov_len = left;
        left -= less[used].iov_len;
    }
    return write_it(descriptor, less, used, offset);
}

/* A write through O_DSYNC. With a fault, what was written is in the page cache all the same, and not on the disk. */
static ssize_t flushed_write(int descriptor, const struct iovec *data, int count, off64_t offset, Write write_it,
                             const struct target *at, int fault)
{
    size_t all = 0;
    for (int each = 0; each < count; each++)
        all += data[each].iov_len;
    record('W', 0, at->file, offset, at->path, strlen(at->path), data, count, all);
    pthread_mutex_unlock(&lock);
    ssize_t done = write_it(descriptor, data, count, offset);
    int error = done < 0 ? errno : fault;
    pthread_mutex_lock(&lock);
    note('E', error, at, offset);
    return error ? failed(error) : done;
}

static ssize_t any_write(int descriptor, const struct iovec *data, int count, off64_t offset, Write write_it)
{
    struct target at;
    if (count > EVERYTHING || !find(descriptor, &at))
        return write_it(descriptor, data, count, offset);
    pthread_mutex_lock(&lock);
    ssize_t done;
    int fault = fault_of('W', at.path);
    if (write_it == streaming)
        offset = lseek64(descriptor, 0, fcntl(descriptor, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    if (at.synchronous && (fault == NO_FAULT || fault == EIO))
        done = flushed_write(descriptor, data, count, offset, write_it, &at, fault == EIO ? EIO : 0);
    else if (fault > 0)
        done = failed(fault);
    else {
        done = fault == HALF ? halved(descriptor, data, count, offset, write_it)
                             : write_it(descriptor, data, count, offset);
        if (done > 0)
            record('W', 0, at.file, offset, at.path, strlen(at.path), data, count, (size_t)done);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    struct iovec all = {(void *)data, size};
    return any_write(descriptor, &all, 1, 0, streaming);
}

ssize_t writev(int descriptor, const struct iovec *data, int count)
{
    return any_write(descriptor, data, count, 0, streaming);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    struct iovec all = {(void *)data, size};
    return any_write(descriptor, &all, 1, offset, positioned);
}

ssize_t pwritev(int descriptor, const struct iovec *data, int count, off_t offset)
{
    return any_write(descriptor, data, count, offset, positioned);
}

ssize_t pwritev2(int descriptor, const struct iovec *data, int count, off_t offset, int flags)
{
    (void)flags;
    return any_write(descriptor, data, count, offset, offset < 0 ? streaming : positioned);
}

ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off64_t) __attribute__((alias("pwritev")));
ssize_t pwritev64v2(int, const struct iovec *, int, off64_t, int) __attribute__((alias("pwritev2")));

ssize_t sendfile64(int out, int in, off64_t *offset, size_t size)
{
    struct target at;
    if (!find(out, &at))
        return REAL(sendfile64)(out, in, offset, size);
    return failed(EINVAL); /* whoever copies a file falls back on writing it */
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags)
{
    struct target at;
    if (!find(out, &at))
        return REAL(copy_file_range)(in, from, out, to, size, flags);
    return failed(EXDEV); /* as above */
}

/* Sizes. */

static int resized(char kind, int descriptor, off64_t size, int (*call)(int, off64_t, off64_t), off64_t offset)
{
    struct target at;
    if (!find(descriptor, &at))
        return call(descriptor, offset, size);
    pthread_mutex_lock(&lock);
    int fault = fault_of('W', at.path);
    int done = fault > 0 ? failed(fault) : call(descriptor, offset, size);
    if (!done)
        note(kind, 0, &at, offset + size);
    pthread_mutex_unlock(&lock);
    return done;
}

static int cut(int descriptor, off64_t offset, off64_t size)
{
    (void)offset;
    return REAL(ftruncate64)(descriptor, size);
}

static int allocated(int descriptor, off64_t offset, off64_t size)
{
    int error = REAL(posix_fallocate64)(descriptor, offset, size);
    return error ? failed(error) : 0;
}

int ftruncate(int descriptor, off_t size) { return resized('T', descriptor, size, cut, 0); }

int ftruncate64(int, off64_t) __attribute__((alias("ftruncate")));

int posix_fallocate(int descriptor, off_t offset, off_t size)
{
    return resized('A', descriptor, size, allocated, offset) ? errno : 0;
}

int posix_fallocate64(int, off64_t, off64_t) __attribute__((alias("posix_fallocate")));

/* Flushes. */

static int any_sync(int descriptor, int (*call)(int))
{
    struct target at;
    if (!find(descriptor, &at))
        return call(descriptor);
    pthread_mutex_lock(&lock);
    int fault = fault_of('S', at.path);
    note('B', 0, &at, 0);
    pthread_mutex_unlock(&lock);
    int done = fault > 0 ? failed(fault) : call(descriptor), error = errno;
    pthread_mutex_lock(&lock);
    note('S', done ? error : 0, &at, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fsync(int descriptor) { return any_sync(descriptor, REAL(fsync)); }

int fdatasync(int descriptor) { return any_sync(descriptor, REAL(fdatasync)); }

void sync(void)
{
    struct target everything = {0};
    pthread_mutex_lock(&lock);
    note('B', 0, &everything, 0);
    pthread_mutex_unlock(&lock);
    REAL(sync)();
    pthread_mutex_lock(&lock);
    note('S', 0, &everything, 0);
    pthread_mutex_unlock(&lock);
}

/* Names. */

static int named(char kind, int error, const char *path, const char *other)
{
    char names[2 * PATH_MAX];
    struct stat about = {0};
    size_t size = strlen(path);
    memcpy(names, path, size);
    if (other) {
        names[size] = 0;
        memcpy(names + size + 1, other, strlen(other));
        size += 1 + strlen(other);
    }
    if (!error && kind != 'U' && kind != 'N')
        lstat(other ? other : path, &about);
    record(kind, error, about.st_ino, 0, names, size, NULL, 0, 0);
    return error;
}

static int any_open(int directory, const char *path, int flags, mode_t mode)
{
    char whole[PATH_MAX];
    struct target at;
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !resolve(directory, path, whole)) {
        int opened = REAL(openat)(directory, path, flags, mode);
        if (opened >= 0 && (flags & O_TMPFILE) == O_TMPFILE && find(opened, &at))
            note('O', 0, &at, 0);
        return opened;
    }
    pthread_mutex_lock(&lock);
    int is_new = faccessat(AT_FDCWD, whole, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    int fault = is_new ? fault_of('N', whole) : NO_FAULT;
    int opened = fault > 0 ? failed(fault) : REAL(openat)(directory, path, flags, mode);
    if (opened >= 0 && is_new)
        named('C', 0, whole, NULL);
    else if (opened >= 0 && flags & O_TRUNC && find(opened, &at))
        note('T', 0, &at, 0);
    pthread_mutex_unlock(&lock);
    return opened;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return any_open(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return any_open(directory, path, flags, mode);
}

int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));

static int changed(char kind, const char *path, const char *other, int (*call)(void *), void *arguments)
{
    pthread_mutex_lock(&lock);
    int fault = fault_of('N', other ? other : path);
    int done = fault > 0 ? failed(fault) : call(arguments), error = errno;
    if (!done)
        named(kind, 0, path, other);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

struct names {
    int directory, other_directory, flags;
    const char *path, *other;
    mode_t mode;
};

static int do_rename(void *of)
{
    struct names *these = of;
    return REAL(renameat)(these->directory, these->path, these->other_directory, these->other);
}

static int do_link(void *of)
{
    struct names *these = of;
    return REAL(linkat)(these->directory, these->path, these->other_directory, these->other, these->flags);
}

static int do_unlink(void *of)
{
    struct names *these = of;
    return REAL(unlinkat)(these->directory, these->path, these->flags);
}

static int do_mkdir(void *of)
{
    struct names *these = of;
    return REAL(mkdirat)(these->directory, these->path, these->mode);
}

static int on_names(char kind, struct names these, int (*call)(void *))
{
    char path[PATH_MAX], other[PATH_MAX];
    int counts = resolve(these.directory, these.path, path);
    if (!counts || (these.other && !resolve(these.other_directory, these.other, other)))
        return call(&these);
    return changed(kind, path, these.other ? other : NULL, call, &these);
}

int renameat(int from, const char *path, int to, const char *other)
{
    return on_names('R', (struct names){from, to, 0, path, other, 0}, do_rename);
}

int rename(const char *path, const char *other) { return renameat(AT_FDCWD, path, AT_FDCWD, other); }

int linkat(int from, const char *path, int to, const char *other, int flags)
{
    return on_names('L', (struct names){from, to, flags, path, other, 0}, do_link);
}

int link(const char *path, const char *other) { return linkat(AT_FDCWD, path, AT_FDCWD, other, 0); }

int unlinkat(int directory, const char *path, int flags)
{
    return on_names(flags & AT_REMOVEDIR ? 'N' : 'U', (struct names){directory, 0, flags, path, NULL, 0}, do_unlink);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int directory, const char *path, mode_t mode)
{
    return on_names('M', (struct names){directory, 0, 0, path, NULL, mode}, do_mkdir);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
