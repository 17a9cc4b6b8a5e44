/* The process among others: -daemonize, the pid file, and the signals that end it. */
#include "system.h"
#include "util/fd.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

/* The process's own, as its signals and its files are. */
static struct {
    int ready_fd; /* -1: not daemonized */
    char *pidfile;
    int pidfile_fd;
    int signal_fd;
    RunState *run;
} process = { .ready_fd = -1, .pidfile_fd = -1, .signal_fd = -1 };

bool daemon_fork(GError **err)
{
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC) < 0) {
        return err_set_errno(err, "cannot daemonize");
    }
    pid_t pid = fork();

    if (pid < 0) {
        return err_set_errno(err, "cannot daemonize");
    }
    if (pid > 0) {
        uint8_t status;
        ssize_t n;

        close(pipe_fd[1]);
        do {
            n = read(pipe_fd[0], &status, 1);
        } while (n < 0 && errno == EINTR);
        _exit(n == 1 ? 0 : 1); /* no byte: the child has said why on standard error */
    }
    close(pipe_fd[0]);
    process.ready_fd = pipe_fd[1];
    setsid();
    return true;
}

bool daemon_ready(GError **err)
{
    if (process.ready_fd < 0) {
        return true;
    }
    autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const uint8_t ok = 0;

    if (null < 0 || chdir("/") < 0) {
        return err_set_errno(err, "cannot daemonize");
    }
    for (int fd = 0; fd <= 2; fd++) {
        dup2(null, fd);
    }
    if (write(process.ready_fd, &ok, 1) != 1) {
        return err_set_errno(err, "cannot daemonize");
    }
    close(process.ready_fd);
    process.ready_fd = -1;
    return true;
}

bool pidfile_write(const char *path, GError **err)
{
    autofd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if (fd < 0) {
        return err_set_errno(err, "cannot create PID file: Could not create '%s'", path);
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        return err_set_errno(err, "cannot create PID file: Failed to lock '%s'", path);
    }
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        return err_set_errno(err, "cannot create PID file: Failed to write '%s'", path);
    }
    process.pidfile = g_canonicalize_filename(path, NULL); /* daemon_ready() changes the folder */
    process.pidfile_fd = fd_steal(&fd);
    return true;
}

void pidfile_remove(void)
{
    if (process.pidfile) {
        unlink(process.pidfile);
        close(process.pidfile_fd);
        g_clear_pointer(&process.pidfile, g_free);
    }
}

static void end_signals(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGINT);
    sigaddset(ret, SIGHUP);
}

void signals_block(void)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigset_t set;

    sigaction(SIGPIPE, &ignore, NULL);
    end_signals(&set);
    sigaddset(&set, SIGWINCH); /* read by the character device of the terminal */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* argv[0] of another process, as people see it in ps. */
static char *process_name(uint32_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%u/cmdline", pid);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text && *text ? text : (g_free(text), g_strdup("<unknown process>"));
}

static void on_signal(G_GNUC_UNUSED void *opaque, G_GNUC_UNUSED uint32_t events)
{
    struct signalfd_siginfo info;

    while (read(process.signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_pid) {
            g_autofree char *name = process_name(info.ssi_pid);

            report_error(
                "terminating on signal %u from pid %u (%s)", info.ssi_signo, info.ssi_pid, name);
        } else {
            report_error("terminating on signal %u", info.ssi_signo);
        }
        run_request_shutdown(process.run, SHUTDOWN_HOST_SIGNAL);
    }
}

void signals_watch(RunState *r)
{
    sigset_t set;

    end_signals(&set);
    process.run = r;
    process.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (process.signal_fd < 0) {
        g_error("no signalfd on this host: %s", g_strerror(errno));
    }
    loop_fd_add(loop_main(), process.signal_fd, EPOLLIN, on_signal, NULL);
}
